"""Tests of the retry policy of webhook deliveries."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.client.http.pinned import PinnedResponse
from sealyard.server.delivery.retry_policy import (
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


def create_response(status: int, retry_after: str = "", body: bytes = b"") -> PinnedResponse:
    return PinnedResponse(status=status, retry_after=retry_after, body=body)


def create_failure(status: int, retry_after: str = "", body: bytes = b"") -> DeliveryFailure:
    failure = classify_response(create_response(status, retry_after, body), NOW)
    assert failure is not None
    return failure


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_status_is_no_failure(status: int) -> None:
    assert classify_response(create_response(status), NOW) is None


@pytest.mark.parametrize(
    ("tries", "statuses"),
    [
        (MAX_TRIES, (408, 409, 425, 429, 500, 502, 503, 504, 599)),
        (FEW_TRIES, (300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 413, 422, 451)),
        (ONE_TRY, (410,)),
    ],
)
def test_status_determines_number_of_tries(tries: int, statuses: tuple[int, ...]) -> None:
    assert {create_failure(each).tries for each in statuses} == {tries}


@pytest.mark.parametrize("attempts", range(1, len(DELAYS.seconds) + 1))
def test_delay_has_jitter_around_schedule(attempts: int) -> None:
    delays = {next_delay(create_failure(500), attempts) for _ in range(50)}
    assert len(delays) > 1
    delay = DELAYS.seconds[attempts - 1]
    assert all(each is not None and 0.8 * delay <= each <= 1.2 * delay for each in delays)


def test_delay_after_last_try_is_none() -> None:
    assert next_delay(create_failure(500), MAX_TRIES) is None
    assert next_delay(create_failure(404), FEW_TRIES - 1) is not None
    assert next_delay(create_failure(404), FEW_TRIES) is None
    assert next_delay(create_failure(410), 1) is None


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
def test_retry_after_header_is_parsed(text: str, seconds: float) -> None:
    assert create_failure(503, text).wait == seconds


def test_retry_after_only_extends_delay() -> None:
    assert next_delay(create_failure(429, "300"), 1) == 300.0
    assert (next_delay(create_failure(429, "1"), 3) or 0.0) >= 0.8 * DELAYS.seconds[2]


@given(st.text(), st.binary(max_size=4096), st.integers(300, 599))
def test_error_is_short_and_printable(text: str, body: bytes, status: int) -> None:
    error = create_failure(status, text, body).error
    assert error.isprintable()
    assert len(error) < 260
    assert str(status) in error
