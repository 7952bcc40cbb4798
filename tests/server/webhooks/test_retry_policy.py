"""When what did not arrive is sent again, and when it is given up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.client.http.pinned import PinnedResponse
from sealyard.server.webhooks.retry_policy import (
    DELAYS,
    FEW_TRIES,
    MAX_RETRY_AFTER,
    MAX_TRIES,
    ONE_TRY,
    DeliveryFailure,
    classify_response,
    next_delay,
)

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def answer(status: int, retry_after: str = "", body: bytes = b"") -> PinnedResponse:
    return PinnedResponse(status=status, retry_after=retry_after, body=body)


def failed(status: int, retry_after: str = "", body: bytes = b"") -> DeliveryFailure:
    failure = classify_response(answer(status, retry_after, body), NOW)
    assert failure is not None
    return failure


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_two_hundred_and_something_is_taken(status: int) -> None:
    assert classify_response(answer(status), NOW) is None


@pytest.mark.parametrize(
    ("tries", "statuses"),
    [
        (MAX_TRIES, (408, 409, 425, 429, 500, 502, 503, 504, 599)),
        (FEW_TRIES, (300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 413, 422, 451)),
        (ONE_TRY, (410,)),
    ],
)
def test_each_refusal_is_worth_its_number_of_tries(tries: int, statuses: tuple[int, ...]) -> None:
    assert {failed(each).tries for each in statuses} == {tries}


@pytest.mark.parametrize("tried", range(1, len(DELAYS.seconds) + 1))
def test_each_wait_is_longer_than_the_last_and_not_the_same_for_all(tried: int) -> None:
    waits = {next_delay(failed(500), tried) for _ in range(50)}
    assert len(waits) > 1
    delay = DELAYS.seconds[tried - 1]
    assert all(each is not None and 0.8 * delay <= each <= 1.2 * delay for each in waits)


def test_after_the_last_try_it_is_given_up() -> None:
    assert next_delay(failed(500), MAX_TRIES) is None
    assert next_delay(failed(404), FEW_TRIES - 1) is not None
    assert next_delay(failed(404), FEW_TRIES) is None
    assert next_delay(failed(410), 1) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Mon, 23 Nov 2026 08:10:00 GMT", 600.0),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0.0),
        ("9" * 400, MAX_RETRY_AFTER),
        ("Mon, 23 Nov 2099 07:00:00 GMT", MAX_RETRY_AFTER),
        *((each, 0.0) for each in ("", "-5", "soon", "1.5", "²", "Mon, 23 Nov 2026 08:10:00 -0000", "1 Jan 99999")),
    ],
)
def test_the_time_that_was_asked_for_is_read(text: str, seconds: float) -> None:
    assert failed(503, text).wait == seconds


def test_who_asks_for_more_time_gets_it_and_who_asks_for_less_does_not() -> None:
    assert next_delay(failed(429, "300"), 1) == 300.0
    assert (next_delay(failed(429, "1"), 3) or 0.0) >= 0.8 * DELAYS.seconds[2]


@given(st.text(), st.binary(max_size=4096), st.integers(300, 599))
def test_whatever_is_answered_becomes_one_short_harmless_line(text: str, body: bytes, status: int) -> None:
    error = failed(status, text, body).error
    assert error.isprintable()
    assert len(error) < 260
    assert str(status) in error
