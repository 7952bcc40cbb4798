"""How values look: words and signs that are told apart without colour, and foreign text made harmless."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from textual.content import Content

from sealyard.model.formatting import format_duration
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus

_STATUS: dict[TaskStatus, tuple[str, str]] = {
    TaskStatus.CREATED: ("○", "$text-muted"),
    TaskStatus.WAITING: ("◔", "$warning"),
    TaskStatus.APPROVED: ("◑", "$accent"),
    TaskStatus.SCHEDULED: ("◕", "$accent"),
    TaskStatus.RUNNING: ("▸", "$accent"),
    TaskStatus.DONE: ("✓", "$success"),
    TaskStatus.FAILED: ("✗", "$error"),
    TaskStatus.CANCELLED: ("–", "$text-muted"),
}

_RESULT: dict[ResultState, tuple[str, str]] = {
    ResultState.AVAILABLE: ("↓", "$success"),
    ResultState.EXPIRED: ("!", "$warning"),
    ResultState.GONE: ("∅", "$error"),
}

EXPIRY_WARNING = 3600
"""Seconds before a link ends from which on it is shown as a warning."""


def safe_content(text: str, limit: int = 0) -> Content:
    """Foreign text: what does not print is shown as an escape, and nothing in it is markup."""
    return Content(escape_text(text, limit))


def status_icon(status: TaskStatus) -> tuple[str, str]:
    """The sign, and the style it is shown in."""
    return _STATUS[status]


def result_icon(state: ResultState) -> tuple[str, str]:
    """The sign, and the style it is shown in."""
    return _RESULT[state]


def status_badge(status: TaskStatus) -> Content:
    sign, style = _STATUS[status]
    return Content.styled(f"{sign} {status}", style)


def result_badge(result: Result | None, now: datetime) -> Content:
    """The state of a result with the time left; empty where there is none."""
    if result is None:
        return Content("")
    if result.signature is not None:
        return Content.styled("✓ signature", "$success")
    sign, style = _RESULT[result.state]
    until = {ResultState.AVAILABLE: result.expires_at, ResultState.EXPIRED: result.retained_until}.get(result.state)
    left = max(0.0, (until - now).total_seconds()) if until is not None else None
    if result.state is ResultState.AVAILABLE and left is not None and left < EXPIRY_WARNING:
        style = "$warning"
    rest = f" {short_duration(left)}" if left is not None else ""
    trial = " TRIAL" if result.self_approved else ""
    return Content.styled(f"{sign} {result.state}{rest}{trial}", style)


def short_duration(seconds: float) -> str:
    """The largest unit only: ``5d``, ``3h``, ``40s``."""
    return format_duration(int(seconds)).split(" ")[0]


def format_age(moment: datetime, now: datetime) -> str:
    return short_duration(max(0.0, (now - moment).total_seconds()))


def format_clock(moment: datetime | None) -> str:
    """The time of day, in the local time zone."""
    return f"{moment.astimezone():%H:%M:%S}" if moment is not None else ""


def progress_bar(done: int, total: int, width: int) -> Content:
    """``▰▰▰▱▱ 60 %``, ``width`` cells in all."""
    share = min(1.0, done / total) if total else 0.0
    label = f" {int(100 * share):3d} %"
    bars = max(1, width - len(label))
    full = round(share * bars)
    return Content.assemble(
        Content.styled("▰" * full, "$accent"), Content.styled("▱" * (bars - full), "$text-muted"), label
    )


def task_title(task: Task) -> str:
    """Safe text: the task's name, else its first file's, else its id."""
    return escape_text(task.name or (task.inputs[0].name if task.inputs else task.id))


def format_path(path: Path) -> str:
    """Safe text, and with ``~`` for one's home folder: it can be typed where paths are read."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    text = str(path)
    return escape_text(f"~{text.removeprefix(home)}" if path.is_relative_to(home) and home != "/" else text)


def format_fields(pairs: list[tuple[str, Content | str]], *, width: int = 0) -> Content:
    """Names and what they are, one a line, aligned; what is empty is left out. A ``str`` must be safe already.

    With ``width`` > 0, what is longer goes on under where it began.
    """
    shown = [(name, value) for name, value in pairs if value]
    indent = max((len(name) for name, _ in shown), default=0) + 2
    lines = [
        Content.assemble(Content.styled(name.ljust(indent), "$text-muted"), _hanging_indent(value, indent, width))
        for name, value in shown
    ]
    return Content("\n").join(lines)


def _hanging_indent(value: Content | str, indent: int, width: int) -> Content:
    content = value if isinstance(value, Content) else Content(value)
    lines = content.wrap(max(1, width - indent)) if width else content.split("\n")
    return Content("\n" + " " * indent).join(lines)
