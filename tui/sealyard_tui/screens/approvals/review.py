"""The review of a task as text in sections; foreign text is escaped here. Pure functions."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from datetime import datetime

from textual.content import Content

from sealyard.model.approval import valid_approvers
from sealyard.model.formatting import (
    format_decider,
    format_duration,
    format_size,
    format_size_exact,
    format_time,
    format_time_left,
)
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Decision, InputFile, Task, TaskKind, TaskStatus, Verdict
from sealyard_tui.formatting import format_fields, status_badge, task_title
from sealyard_tui.screens.approvals.diff import ChangeKind, FileChange, PackageDiff, diff_packages, format_key
from sealyard_tui.screens.approvals.metadata_view import render_metadata
from sealyard_tui.screens.approvals.row import is_timed_out

SECTIONS = ("verdict", "request", "files", "changes", "metadata", "decisions")

_SIGNS: dict[ChangeKind, tuple[str, str]] = {
    ChangeKind.ADDED: ("+", "$success"),
    ChangeKind.REMOVED: ("-", "$error"),
    ChangeKind.CHANGED: ("~", "$warning"),
    ChangeKind.RENAMED: ("~", "$warning"),
    ChangeKind.SAME: ("=", "$text-muted"),
}
GUTTER = "│ "
"""Prefix of foreign content, so that it cannot be mistaken for text of the application."""

TIMED_OUT_TEXT = "The approval period has expired. The task can no longer be decided and will be cancelled."


def render_sections(review: ApprovalReview, now: datetime, width: int) -> dict[str, tuple[str, Content]]:
    """Return heading and text of each of :data:`SECTIONS`, for a width in cells."""
    task = review.task
    return {
        "verdict": ("", render_verdict(review, now, width)),
        "request": ("Request", _request(review, width)),
        "files": (_files_heading(task), _lines(_files(task, width))),
        "changes": ("Since the last approved package", _lines(_changes(review, width))),
        "metadata": (f"Metadata ({len(task.metadata)})", _lines(_metadata(review, width))),
        "decisions": ("Decisions", _lines(_decisions(task, width))),
    }


def copyable_values(task: Task) -> dict[str, str]:
    """Return values of a task that can be copied, by name; foreign text."""
    texts = {
        "task id": task.id,
        "name": task.name,
        "approval digest": task.approval_digest,
        **{f"SHA-256 of {each.name}": each.sha256 for each in (*task.inputs, *task.metadata)},
    }
    return {what: text for what, text in texts.items() if text}


def metadata_text(review: ApprovalReview, index: int) -> str:
    """Return the stored part of a metadata file as safe text, for a pager."""
    return render_metadata(review.metadata[index][1], review.task.metadata[index].size, all_of_it=True).content.plain


def render_verdict(review: ApprovalReview, now: datetime, width: int) -> Content:
    """Return whether the user can decide, and what must be known first."""
    task = review.task
    lines: list[Content] = []
    if is_timed_out(task, now) and task.status is TaskStatus.WAITING:
        lines.append(_marked("✗", TIMED_OUT_TEXT, "$error", width))
    elif review.blocked_reason:
        lines.append(_marked("✗", escape_text(review.blocked_reason), "$warning", width))
    else:
        until = (
            f", until {format_time_left(task.approval_expires_at, now)}" if task.approval_expires_at is not None else ""
        )
        lines.append(_marked("✓", f"You may decide on this task{until}.", "$success", width))
    if task.self_approved:
        words = "SELF-APPROVAL TRIAL: the requester may approve. The result is marked; do not release it."
        lines.append(_marked("✗", words, "$error", width))
    if task.warning:
        lines.append(_marked("!", escape_text(task.warning), "$warning", width))
    if review.newer_version:
        words = (
            f"{task.config_name} has a newer version {review.newer_version};"
            f" this task uses version {task.config_version}."
        )
        lines.append(_marked("!", escape_text(words), "$warning", width))
    warnings = dict.fromkeys((*task.warnings, *review.configuration.warnings))
    lines += [_marked("!", escape_text(each), "$warning", width) for each in warnings]
    return _lines(lines)


def _request(review: ApprovalReview, width: int) -> Content:
    task, device = review.task, review.configuration
    newer = f" (newest: {review.newer_version})" if review.newer_version else " (newest)"
    digest = _hanging_indent(
        Content.styled("digest ", "$text-muted"), Content(escape_text(task.approval_digest)), width
    )
    named = format_fields(
        [
            ("name", Content.styled(task_title(task), "bold")),
            ("task", escape_text(f"{task.kind} {task.id}")),
            ("status", status_badge(task.status) if task.status is not TaskStatus.WAITING else ""),
            ("reason", escape_text(task.reason)),
            ("requester", escape_text(f"{task.created_by} at {format_time(task.created_at)}")),
            ("configuration", escape_text(f"{task.config_name} version {task.config_version}{newer}")),
            ("description", escape_text(device.description)),
            ("content type", escape_text(task.content_type)),
            ("result", escape_text(_result(review))),
            ("encryption", escape_text(format_key(task.encryption_key))),
            ("", escape_text(task.encryption_key.description) if task.encryption_key else ""),
            ("signing", escape_text(format_key(task.signing_key))),
            ("", escape_text(task.signing_key.description) if task.signing_key else ""),
            ("approvals", _approvals(task)),
        ],
        width=width,
    )
    return _lines([named, digest])


def _result(review: ApprovalReview) -> str:
    if review.task.kind is TaskKind.SIGNING:
        return "a signature"
    link, kept = review.configuration.link_ttl_seconds, review.configuration.retention_seconds
    return f"{review.task.format}, link for {format_duration(link)}, kept for {format_duration(kept)}".lstrip(", ")


def _approvals(task: Task) -> str:
    count = len(valid_approvers(task, task.approvals))
    return f"{count} of {task.approvals_required} (requester excluded)"


# ---- files


def _files_heading(task: Task) -> str:
    label = "Firmware, in this order" if task.kind is TaskKind.PACKAGING else "Input"
    return f"{label} ({len(task.inputs)}, {format_size(task.total_bytes)})"


def _files(task: Task, width: int) -> Iterator[Content]:
    for number, file in enumerate(task.inputs, 1):
        yield from _file(file, f"{number}. ", width)
        if file.inline is not None:
            yield from _content(_bytes(file.inline), file.size, width)


def _bytes(inline: str) -> bytes:
    try:
        return base64.b64decode(inline)
    except ValueError:
        return inline.encode()


def _file(file: InputFile, sign: str, width: int) -> Iterator[Content]:
    size = f"  {format_size_exact(file.size)}"
    name = Content.assemble(Content.styled(escape_text(file.name), "bold"), Content.styled(size, "$text-muted"))
    digest = Content.assemble(Content.styled("sha256 ", "$text-muted"), escape_text(file.sha256))
    yield _hanging_indent(Content(sign), name, width)
    yield _hanging_indent(Content(" " * len(sign)), digest, width)


def _metadata(review: ApprovalReview, width: int) -> Iterator[Content]:
    if not review.task.metadata:
        yield Content.styled("None.", "$text-muted")
    contents = [content for _, content in review.metadata]
    for index, file in enumerate(review.task.metadata):
        yield from _file(file, f"{index + 1}. ", width)
        if index < len(contents):
            yield from _content(contents[index], file.size, width)


def _content(beginning: bytes, size: int, width: int) -> Iterator[Content]:
    found = render_metadata(beginning, size)
    yield Content.styled(f"{GUTTER}{found.kind}", "$text-muted")
    for line in found.content.split("\n", allow_blank=True) if found.content else ():
        for part in line.wrap(max(1, width - len(GUTTER))):
            yield Content.assemble(Content.styled(GUTTER, "$text-muted"), part)
    if found.omitted:
        yield Content.styled(f"! {found.omitted}; press e to open it in the pager", "$warning")


# ---- differences


def _changes(review: ApprovalReview, width: int) -> Iterator[Content]:
    if review.task.kind is not TaskKind.PACKAGING:
        yield Content.styled("Only packages are compared.", "$text-muted")
        return
    if review.previous is None:
        yield _marked("!", "First package for this device configuration.", "$warning", width)
        return
    previous = review.previous
    words = f"{task_title(previous)}, requested by {previous.created_by} at {format_time(previous.created_at)}"
    yield _hanging_indent(Content("compared with "), Content(escape_text(words)), width)
    found = diff_packages(previous, review.task)
    if found.is_empty:
        yield _marked("=", "No changes: same files, keys and terms.", "$text-muted", width)
        return
    yield from _term_changes(found, width)
    for change in (*found.firmware, *found.metadata):
        yield from _file_change(change, width)


def _term_changes(found: PackageDiff, width: int) -> Iterator[Content]:
    for change in found.terms:
        words = f"{escape_text(change.before) or 'none'} → {escape_text(change.after) or 'none'}"
        yield _hanging_indent(Content.styled(f"~ {change.term}: ", "$warning"), Content(words), width)
    if found.reordered:
        yield _marked("~", "firmware order changed", "$warning", width)


def _file_change(change: FileChange, width: int) -> Iterator[Content]:
    sign, style = _SIGNS[change.kind]
    grown = f"  {_growth(change.growth)}" if change.kind not in (ChangeKind.SAME, ChangeKind.RENAMED) else ""
    label = Content.styled(f"{sign} {change.kind:<8}", style)
    yield _hanging_indent(label, Content(f"{escape_text(change.name)}{grown}"), width)
    if change.kind is ChangeKind.CHANGED and change.before is not None and change.after is not None:
        yield _hanging_indent(Content("  was "), Content(change.before.sha256), width)
        yield _hanging_indent(Content("  now "), Content.styled(change.after.sha256, "bold"), width)


def _growth(count: int) -> str:
    if not count:
        return "same size"
    return f"{abs(count):,} bytes {'more' if count > 0 else 'less'}"


# ---- decisions


def _decisions(task: Task, width: int) -> Iterator[Content]:
    if not task.approvals:
        yield Content.styled("No decisions yet.", "$text-muted")
    for approval in task.approvals:
        yield _decision(approval, width)
    yield Content.styled("── end ──", "$text-muted")


def _decision(decision: Decision, width: int) -> Content:
    approved = decision.verdict is Verdict.APPROVED
    reason = f": {decision.reason}" if decision.reason else ""
    words = f"{decision.verdict} by {format_decider(decision)} at {format_time(decision.at)}{reason}"
    return _marked("✓" if approved else "✗", escape_text(words), "$success" if approved else "$error", width)


# ---- layout


def _marked(sign: str, words: str, style: str, width: int) -> Content:
    return _hanging_indent(Content.styled(f"{sign} ", style), Content.styled(words, style), width)


def _hanging_indent(label: Content, text: Content, width: int) -> Content:
    """Return ``text`` after ``label``, with a hanging indent."""
    indent = "\n" + " " * label.cell_length
    return Content.assemble(label, Content(indent).join(text.wrap(max(1, width - label.cell_length))))


def _lines(lines: Iterable[Content]) -> Content:
    return Content("\n").join(lines)
