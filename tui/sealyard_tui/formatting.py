"""Formatting of values for display: icons with words, so that nothing depends on color alone, and escaped text."""

from __future__ import annotations

import os
from datetime import datetime, tzinfo
from pathlib import Path

from rich.cells import cell_len
from textual.content import Content

from sealyard.model.display_zone import display_zone
from sealyard.model.formatting import format_duration
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import DetailedStatus, Result, ResultState, Task, TaskStatus, Verdict

_STATUS: dict[DetailedStatus, tuple[str, str]] = {
    DetailedStatus.CREATED: ("○", "$text-muted"),
    DetailedStatus.WAITING: ("◔", "$warning"),
    DetailedStatus.APPROVED: ("◑", "$accent"),
    DetailedStatus.SCHEDULED: ("◕", "$accent"),
    DetailedStatus.RUNNING: ("▸", "$accent"),
    DetailedStatus.DONE: ("✓", "$success"),
    DetailedStatus.FAILED: ("✗", "$error"),
    DetailedStatus.CANCELLED: ("–", "$text-muted"),
    DetailedStatus.REJECTED: ("✗", "$warning"),
    DetailedStatus.WITHDRAWN: ("–", "$text-muted"),
}

_RESULT: dict[ResultState, tuple[str, str]] = {
    ResultState.AVAILABLE: ("↓", "$success"),
    ResultState.EXPIRED: ("!", "$warning"),
    ResultState.GONE: ("∅", "$error"),
}

EXPIRY_WARNING_SECONDS = 3600
"""A link that expires within this time is shown in the warning style."""


def safe_content(text: str, limit: int = 0) -> Content:
    """Return untrusted text as content: unprintable characters are escaped, and nothing is interpreted as markup.

    ``limit``: maximum length, after which the text is truncated; 0 means no limit.
    """
    return Content(escape_text(text, limit))


def shorten_middle(text: str, limit: int) -> str:
    """Return ``text``, shortened in the middle to at most ``limit`` characters, so that both ends stay readable."""
    if len(text) <= limit:
        return text
    tail = max(0, limit - 1) // 2
    head = max(0, limit - 1 - tail)
    return f"{text[:head]}…{text[len(text) - tail :]}"


def status_icon(status: TaskStatus | DetailedStatus) -> tuple[str, str]:
    """Return the icon for a task status, and the style of the icon."""
    return _STATUS[DetailedStatus(status)]


def result_icon(state: ResultState) -> tuple[str, str]:
    """Return the icon for a result state, and the style of the icon."""
    return _RESULT[state]


def status_badge(status: TaskStatus | DetailedStatus) -> Content:
    icon, style = status_icon(status)
    return Content.styled(f"{icon} {status}", style)


def result_badge(result: Result | None, now: datetime) -> Content:
    """Return the icon and state of a result, and the time until the state changes; empty if there is no result."""
    if result is None:
        return Content("")
    if result.signature is not None:
        return Content.styled("✓ signature", "$success")
    icon, style = _RESULT[result.state]
    deadline = {ResultState.AVAILABLE: result.expires_at, ResultState.EXPIRED: result.retained_until}.get(result.state)
    remaining = max(0.0, (deadline - now).total_seconds()) if deadline is not None else None
    if result.state is ResultState.AVAILABLE and remaining is not None and remaining < EXPIRY_WARNING_SECONDS:
        style = "$warning"
    kept = " · kept" if result.state is ResultState.EXPIRED else ""
    time_left = f"{kept} {short_duration(remaining)}" if remaining is not None else ""
    mark = " TRIAL" if result.self_approved else ""
    return Content.styled(f"{icon} {result.state}{time_left}{mark}", style)


def format_blocked_reason(reason: str) -> Content:
    """Return the text beside a button that cannot be pressed yet. ``reason`` must be safe; empty if it can be."""
    return Content.styled(f"○ not ready: {reason}" if reason else "", "$text-muted")


def short_duration(seconds: float) -> str:
    """Return a duration as text in its largest unit only, such as ``5d``, ``3h`` or ``40s``."""
    return format_duration(int(seconds)).split(" ")[0]


def format_age(moment: datetime, now: datetime) -> str:
    return short_duration(max(0.0, (now - moment).total_seconds()))


def add_zone(title: str, zone: tzinfo | None) -> str:
    """Return a column title with the abbreviation of a time zone, such as ``TIME (CEST)``."""
    return f"{title} ({datetime.now(zone):%Z})"


def format_clock(moment: datetime | None) -> str:
    """Return the time of day in the display time zone, such as ``14:05:59``; empty if ``moment`` is None."""
    return f"{display_zone.convert(moment):%H:%M:%S}" if moment is not None else ""


def progress_bar(done: int, total: int, width: int) -> Content:
    """Return a progress bar such as ``▰▰▰▱▱  60 %`` that is ``width`` cells wide."""
    fraction = min(1.0, done / total) if total else 0.0
    label = f" {int(100 * fraction):3d} %"
    bar_width = max(1, width - len(label))
    filled = round(fraction * bar_width)
    return Content.assemble(
        Content.styled("▰" * filled, "$accent"), Content.styled("▱" * (bar_width - filled), "$text-muted"), label
    )


def task_title(task: Task) -> str:
    """Return, as safe text, the task's name or, if it has none, the name of its first file or its id."""
    return escape_text(task.name or (task.inputs[0].name if task.inputs else task.id))


def shorten_name(text: str, cells: int) -> str:
    """Return safe text for one line of at most ``cells`` cells. The middle of a longer text becomes an ellipsis."""
    if cell_len(text) <= cells:
        return text
    end = text
    while cell_len(end) > (cells - 1) // 2:
        end = end[1:]
    start = text
    while cell_len(start) > cells - 1 - cell_len(end):
        start = start[:-1]
    return f"{start}…{end}"


def short_reason(task: Task) -> str:
    """Return the reason for the task's status, without what the status says already: that it was rejected, and so on.

    This leaves room for the part of the reason that the requester looks for. It is untrusted text.
    """
    match task.detailed_status:
        case DetailedStatus.REJECTED:
            rejections = (each.reason for each in reversed(task.approvals) if each.verdict is Verdict.REJECTED)
            return next(rejections, task.reason)
        case DetailedStatus.WITHDRAWN:
            return task.reason.removeprefix(f"Withdrawn by {task.created_by}: ")
    return task.reason


def format_path(path: Path) -> str:
    """Return a path as safe text, with ``~`` for the home directory, which path inputs also accept."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises if there is none
    text = str(path)
    return escape_text(f"~{text.removeprefix(home)}" if path.is_relative_to(home) and home != "/" else text)


def format_fields(fields: list[tuple[str, Content | str]], *, width: int = 0) -> Content:
    """Return the fields as lines with aligned values. Fields with empty values are skipped; strings must be safe text.

    With ``width`` > 0, lines are wrapped to that width, with a hanging indent.
    """
    visible = [(name, value) for name, value in fields if value]
    indent = max((len(name) for name, _ in visible), default=0) + 2
    lines = [
        Content.assemble(Content.styled(name.ljust(indent), "$text-muted"), _hanging_indent(value, indent, width))
        for name, value in visible
    ]
    return Content("\n").join(lines)


def _hanging_indent(value: Content | str, indent: int, width: int) -> Content:
    content = value if isinstance(value, Content) else Content(value)
    lines = content.wrap(max(1, width - indent)) if width else content.split("\n")
    # Otherwise, the space at which a line was wrapped would make the line too wide.
    return Content("\n" + " " * indent).join(line.rstrip() for line in lines)
