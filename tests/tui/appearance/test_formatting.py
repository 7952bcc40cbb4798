"""Tests of the formatting functions that all screens share."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from sealyard.model.tasks import DetailedStatus, ResultState, TaskStatus
from sealyard_tui.formatting import result_badge, shorten_middle, status_badge
from tests.tui.task_factories import result
from tests.tui.workspace import NOW


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("gateway", 7, "gateway"),
        ("gateway 1.5.0", 9, "gate….5.0"),
        ("gateway 1.5.0", 4, "ga…0"),
        ("gateway 1.5.0", 1, "…"),
        ("", 5, ""),
    ],
)
def test_name_is_shortened_in_the_middle(text: str, limit: int, expected: str) -> None:
    assert shorten_middle(text, limit) == expected
    assert len(expected) <= limit


def test_each_detailed_status_has_badge() -> None:
    badges = [status_badge(each).plain for each in DetailedStatus]
    assert len(set(badges)) == len(badges)
    assert status_badge(TaskStatus.CANCELLED).plain == status_badge(DetailedStatus.CANCELLED).plain


def test_expired_result_says_how_long_it_is_kept() -> None:
    expired = msgspec.structs.replace(
        result(ResultState.EXPIRED), state=ResultState.EXPIRED, retained_until=NOW + timedelta(hours=23)
    )
    assert result_badge(expired, NOW).plain == "! EXPIRED · kept 23h"
