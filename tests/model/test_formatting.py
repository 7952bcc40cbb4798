"""Tests of the formatting of sizes, times, durations and deciders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sealyard.model.errors import UsageError
from sealyard.model.formatting import (
    format_decider,
    format_duration,
    format_seconds,
    format_size,
    format_size_exact,
    format_time,
    format_time_left,
    parse_duration,
)
from sealyard.model.subject_names import SubjectNames
from sealyard.model.tasks import DecisionOrigin
from tests.support.factories.tasks import decision, waiting

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_format_seconds_uses_singular_for_one() -> None:
    assert [format_seconds(seconds) for seconds in (0.5, 1, 1.0, 90)] == [
        "0.5 seconds",
        "1 second",
        "1 second",
        "90 seconds",
    ]


def test_format_size_chooses_the_unit() -> None:
    sizes = (0, 1023, 1024, 1536 * 1024, 3 << 30, 5 << 40)
    assert [format_size(each) for each in sizes] == ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "3.0 GiB", "5.0 TiB"]
    assert format_size((1 << 20) - 1) == "1.0 MiB"


def test_format_size_exact_adds_bytes() -> None:
    assert [format_size_exact(each) for each in (95, 1024, 1_500_000)] == [
        "95 B",
        "1.0 KiB (1,024 bytes)",
        "1.4 MiB (1,500,000 bytes)",
    ]


def test_format_duration_uses_two_units() -> None:
    assert [format_duration(each) for each in (0, 59, 3600, 3661, 90_061)] == ["0s", "59s", "1h", "1h 1m", "1d 1h"]


def test_format_time_left_reports_remaining_or_expired() -> None:
    assert format_time_left(None, NOW) == ""
    assert format_time_left(NOW + timedelta(minutes=5), NOW).endswith("(5m left)")
    assert format_time_left(NOW, NOW) == f"{format_time(NOW)} (expired)"


@pytest.mark.parametrize("text", ["30d", "23h", "1h 30m", "0s", "2d 3h"])
def test_duration_round_trips(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize("text", ["", "soon", "1.5h", "-3d", "h", "3 h x", "٣h"])
def test_invalid_duration_error_shows_examples(text: str) -> None:
    with pytest.raises(UsageError, match="24h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("origin", "one_time_password", "names", "expected"),
    [
        (None, False, {}, "USER:anna"),
        (None, False, {"USER:anna": "Anna"}, "USER:anna (Anna)"),
        (DecisionOrigin.MACHINE, False, {}, "USER:anna (machine client)"),
        (DecisionOrigin.TERMINAL, False, {"USER:bo": "Bo"}, "USER:anna (at a terminal)"),
        (DecisionOrigin.TERMINAL, True, {}, "USER:anna (at a terminal, with one-time password)"),
        (DecisionOrigin.TERMINAL, False, {"USER:anna": "Anna"}, "USER:anna (Anna) (at a terminal)"),
    ],
)
def test_format_decider_names_the_subject_and_the_origin(
    origin: DecisionOrigin | None, one_time_password: bool, names: SubjectNames, expected: str
) -> None:
    made_decision = msgspec.structs.replace(
        decision(waiting(), "USER:anna"), origin=origin, one_time_password=one_time_password
    )
    assert format_decider(made_decision, names) == expected
