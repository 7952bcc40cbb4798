"""Tests of the order and wrapping of the details of a task."""

from __future__ import annotations

from sealyard.model.tasks import TaskStatus
from sealyard_tui.action_keys import DEFAULT_KEYS
from sealyard_tui.screens.dashboard.task_detail import render_task
from tests.tui.task_factories import task
from tests.tui.workspace import NOW

WIDTH = 60
WARNINGS = (
    "This cipher is not authenticated: tampering is detected only by the signature.",
    "This signing key is used for both packages and signing tasks.",
)


def _render_lines() -> list[str]:
    failed_task = task(
        "t1",
        TaskStatus.FAILED,
        reason="The worker crashed three times while running the task; see the log of the server.",
        warnings=WARNINGS,
        justification="Fixes the watchdog. " * 10,
    )
    return render_task(failed_task, NOW, DEFAULT_KEYS, {}, width=WIDTH).plain.split("\n")


def test_essential_fields_are_in_first_lines() -> None:
    lines = _render_lines()
    for prefix, line in zip(
        (
            "release t1  ✗ FAILED",
            "→ The worker crashed",
            "  ",
            "  Press",
            "! 2 warnings: This",
            "requested by",
            "device",
        ),
        lines,
        strict=False,
    ):
        assert line.startswith(prefix)
    assert len(lines[4]) == WIDTH
    assert lines[4].endswith("…")


def test_warnings_section_wraps_with_hanging_indent() -> None:
    lines = _render_lines()
    start = lines.index("Warnings")
    assert lines[start + 1 : start + 5] == [
        "! This cipher is not authenticated: tampering is detected",
        "  only by the signature.",
        "! This signing key is used for both packages and signing",
        "  tasks.",
    ]


def test_task_without_warnings_has_no_warnings_section() -> None:
    text = render_task(task("t1"), NOW, DEFAULT_KEYS, {}, width=WIDTH).plain
    assert "arning" not in text
