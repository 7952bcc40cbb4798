"""Test the display time zone: conversion, input, and a zone that is loaded later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sealyard.model.display_zone import DisplayZone, display_zone
from sealyard.model.errors import UsageError
from sealyard.model.formatting import format_time

SUMMER = datetime(2026, 7, 1, 12, tzinfo=UTC)
WINTER = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def local_zone() -> Iterator[None]:
    yield
    display_zone.use("local")


def test_times_are_displayed_in_the_zone_with_its_name() -> None:
    display_zone.use("Europe/Berlin")
    assert format_time(SUMMER) == "2026-07-01 14:00:00 CEST"
    assert format_time(WINTER) == "2026-12-01 13:00:00 CET"
    display_zone.use("UTC")
    assert format_time(SUMMER) == "2026-07-01 12:00:00 UTC"


def test_local_zone_is_that_of_the_system() -> None:
    assert format_time(SUMMER) == f"{SUMMER.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def test_entered_time_without_offset_is_in_the_zone() -> None:
    zone = DisplayZone()
    zone.use("America/New_York")
    assert zone.parse("2026-07-01T08:00") == SUMMER
    assert zone.parse("2026-07-01T12:00Z") == SUMMER
    zone.use("local")
    assert zone.parse("2026-07-01") == datetime(2026, 7, 1).astimezone()


def test_offset_of_a_moment_is_fixed() -> None:
    zone = DisplayZone()
    zone.use("Europe/Berlin")
    fixed = zone.fixed_at(SUMMER)
    assert (fixed.utcoffset(WINTER), fixed.tzname(WINTER)) == (timedelta(hours=2), "CEST")


def test_unknown_zone_keeps_the_current_one() -> None:
    display_zone.use("UTC")
    with pytest.raises(UsageError):
        display_zone.use("Mars/Olympus")
    assert format_time(SUMMER).endswith("UTC")


def test_zone_is_loaded_when_first_needed() -> None:
    zone, calls = DisplayZone(), []
    zone.use_later(lambda: calls.append("load"))
    assert calls == []
    zone.convert(SUMMER)
    zone.convert(WINTER)
    assert calls == ["load"]
