"""Tests of the counts in the summary bar of the dashboard."""

from __future__ import annotations

import pytest

from sealyard.model.requests import TaskCounts
from sealyard.model.tasks import ResultState, TaskStatus
from sealyard_tui.screens.dashboard.summary import format_counts

COUNTS = TaskCounts(
    by_status={TaskStatus.WAITING: 12, TaskStatus.DONE: 15_000, TaskStatus.FAILED: 6},
    results={ResultState.AVAILABLE: 7, ResultState.GONE: 1},
    mine=0,
    awaiting_my_approval=0,
)


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            116,
            "◔ 12 waiting  ▸ 0 running  ◕ 0 queued  ✓ 15k done  ✗ 6 failed  │  ↓ 7 available  ! 0 expired  ∅ 1 gone",
        ),
        (78, "◔ 12 waiting  ✓ 15k done  ✗ 6 failed  │  ↓ 7 available  ∅ 1 gone"),
        (58, "◔ 12 waiting  ✓ 15k done  ✗ 6 failed  │  ↓ 7  ∅ 1"),
        (40, "◔ 12  ✓ 15k  ✗ 6  │  ↓ 7  ∅ 1"),
        (20, "◔ 12  ✓ 15k  ✗ 6  │…"),
    ],
)
def test_counts_are_as_detailed_as_width_allows(width: int, text: str) -> None:
    assert format_counts(COUNTS, width).plain == text


def test_zero_counts_are_dim() -> None:
    content = format_counts(COUNTS, 116)
    dim_texts = [content.plain[span.start : span.end] for span in content.spans if span.style == "$text-muted"]
    assert [each for each in dim_texts if "0" in each] == ["▸ 0 running", "◕ 0 queued", "! 0 expired"]
