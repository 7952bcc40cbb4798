"""Rendering of a task review as sections of text. Escapes all untrusted text. Performs no I/O."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
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
from sealyard.model.subject_names import SubjectNames, format_subject, insert_subject_names
from sealyard.model.tasks import Decision, InputFile, Task, TaskKind, TaskStatus, Verdict
from sealyard_tui.formatting import format_fields, status_badge, task_title
from sealyard_tui.screens.approvals.diff import ChangeKind, FileChange, PackageDiff, diff_packages, format_key
from sealyard_tui.screens.approvals.metadata_view import render_metadata
from sealyard_tui.screens.approvals.row import is_timed_out

SECTIONS = ("verdict", "request", "files", "changes", "metadata", "decisions")

_CHANGE_SIGNS: dict[ChangeKind, tuple[str, str]] = {
    ChangeKind.ADDED: ("+", "$success"),
    ChangeKind.REMOVED: ("-", "$error"),
    ChangeKind.CHANGED: ("~", "$warning"),
    ChangeKind.RENAMED: ("~", "$warning"),
    ChangeKind.SAME: ("=", "$text-muted"),
}
GUTTER = "│ "
"""Prefix of each line of metadata, so that it cannot be mistaken for the application's own text."""

TIMED_OUT_TEXT = "The approval period has expired. The task can no longer be decided and will be cancelled."


def render_sections(
    review: ApprovalReview, now: datetime, width: int, keys: Mapping[str, str], names: SubjectNames
) -> dict[str, tuple[str, Content]]:
    """Return the heading and the text of each section in :data:`SECTIONS`.

    ``width``: line width in cells. ``keys``: the keys bound to actions, by binding id. ``names``: display names of
    subjects.
    """
    task = review.task
    return {
        "verdict": ("", render_verdict(review, now, width)),
        "request": ("Request", _render_request(review, width, names)),
        "files": (_format_files_heading(task), _join_lines(_render_files(task, width, keys))),
        "changes": ("Since the last approved package", _join_lines(_render_changes(review, width, names))),
        "metadata": (f"Metadata ({len(task.metadata)})", _join_lines(_render_metadata(review, width, keys))),
        "decisions": ("Decisions", _join_lines(_render_decisions(task, width, names))),
    }


def list_copyable_values(task: Task) -> dict[str, str]:
    """Return the values of a task that can be copied, keyed by label. Labels and values may be untrusted."""
    texts = {
        "task id": task.id,
        "name": task.name,
        "approval digest": task.approval_digest,
        **{f"SHA-256 of {each.name}": each.sha256 for each in (*task.inputs, *task.metadata)},
    }
    return {name: text for name, text in texts.items() if text}


def format_metadata(review: ApprovalReview, index: int) -> str:
    """Return the available part of a metadata file as escaped text for a pager. ``index``: position of the file."""
    return render_metadata(review.metadata[index][1], review.task.metadata[index].size, full=True).content.plain


def render_verdict(review: ApprovalReview, now: datetime, width: int) -> Content:
    """Render a statement of whether the user can decide on the task, followed by all warnings."""
    task = review.task
    lines: list[Content] = []
    if is_timed_out(task, now) and task.status is TaskStatus.WAITING:
        lines.append(_format_marked_line("✗", TIMED_OUT_TEXT, "$error", width))
    elif review.blocked_reason:
        lines.append(_format_marked_line("✗", escape_text(review.blocked_reason), "$warning", width))
    else:
        deadline = (
            f", until {format_time_left(task.approval_expires_at, now)}" if task.approval_expires_at is not None else ""
        )
        lines.append(_format_marked_line("✓", f"You may decide on this task{deadline}.", "$success", width))
    if task.self_approved:
        text = "SELF-APPROVAL TRIAL: the requester may approve. The result is marked; do not release it."
        lines.append(_format_marked_line("✗", text, "$error", width))
    if task.warning:
        lines.append(_format_marked_line("!", escape_text(task.warning), "$warning", width))
    if review.newer_version:
        text = (
            f"{task.config_name} has a newer version {review.newer_version};"
            f" this task uses version {task.config_version}."
        )
        lines.append(_format_marked_line("!", escape_text(text), "$warning", width))
    warnings = dict.fromkeys((*task.warnings, *review.configuration.warnings))
    lines += [_format_marked_line("!", escape_text(each), "$warning", width) for each in warnings]
    return _join_lines(lines)


def _render_request(review: ApprovalReview, width: int, names: SubjectNames) -> Content:
    task, device = review.task, review.configuration
    version_note = f" (newest: {review.newer_version})" if review.newer_version else " (newest)"
    digest = _indent(Content.styled("digest ", "$text-muted"), Content(escape_text(task.approval_digest)), width)
    fields = format_fields(
        [
            ("name", Content.styled(task_title(task), "bold")),
            ("task", escape_text(f"{task.kind} {task.id}")),
            ("status", status_badge(task.detailed_status) if task.status is not TaskStatus.WAITING else ""),
            ("reason", escape_text(task.reason)),
            ("justification", escape_text(task.justification)),
            ("resubmission", escape_text(_format_resubmission(review, names))),
            ("requester", escape_text(f"{format_subject(task.created_by, names)} at {format_time(task.created_at)}")),
            ("configuration", escape_text(f"{task.config_name} version {task.config_version}{version_note}")),
            ("description", escape_text(device.description)),
            ("content type", escape_text(task.content_type)),
            ("result", escape_text(_format_result(review))),
            ("encryption", escape_text(format_key(task.encryption_key))),
            ("", escape_text(task.encryption_key.description) if task.encryption_key else ""),
            ("signing", escape_text(format_key(task.signing_key))),
            ("", escape_text(task.signing_key.description) if task.signing_key else ""),
            ("approvals", _format_approvals(task)),
        ],
        width=width,
    )
    return _join_lines([fields, digest])


def _format_resubmission(review: ApprovalReview, names: SubjectNames) -> str:
    """Return the earlier task that this one replaces, with the reason why it ended; empty if there is none."""
    earlier_task = review.resubmission_of
    if earlier_task is None:
        return f"of task {review.task.resubmission_of}" if review.task.resubmission_of else ""
    reason = insert_subject_names(earlier_task.reason, names)
    return f"of {earlier_task.name} ({earlier_task.id}), {earlier_task.detailed_status}: {reason}"


def _format_result(review: ApprovalReview) -> str:
    if review.task.kind is TaskKind.SIGNING:
        return "a signature"
    link_ttl = format_duration(review.configuration.link_ttl_seconds)
    retention = format_duration(review.configuration.retention_seconds)
    return f"{review.task.format}, link for {link_ttl}, kept for {retention}".lstrip(", ")


def _format_approvals(task: Task) -> str:
    count = len(valid_approvers(task, task.approvals))
    return f"{count} of {task.approvals_required} (requester excluded)"


# ---- files


def _format_files_heading(task: Task) -> str:
    label = "Firmware, in this order" if task.kind is TaskKind.PACKAGING else "Input"
    return f"{label} ({len(task.inputs)}, {format_size(task.total_bytes)})"


def _render_files(task: Task, width: int, keys: Mapping[str, str]) -> Iterator[Content]:
    for number, file in enumerate(task.inputs, 1):
        yield from _render_file(file, f"{number}. ", width)
        if file.inline is not None:
            yield from _render_content(_decode_inline(file.inline), file.size, width, keys)


def _decode_inline(inline: str) -> bytes:
    try:
        return base64.b64decode(inline)
    except ValueError:
        return inline.encode()


def _render_file(file: InputFile, sign: str, width: int) -> Iterator[Content]:
    size = f"  {format_size_exact(file.size)}"
    name = Content.assemble(Content.styled(escape_text(file.name), "bold"), Content.styled(size, "$text-muted"))
    digest = Content.assemble(Content.styled("sha256 ", "$text-muted"), escape_text(file.sha256))
    yield _indent(Content(sign), name, width)
    yield _indent(Content(" " * len(sign)), digest, width)


def _render_metadata(review: ApprovalReview, width: int, keys: Mapping[str, str]) -> Iterator[Content]:
    if not review.task.metadata:
        yield Content.styled("None.", "$text-muted")
    contents = [content for _, content in review.metadata]
    for index, file in enumerate(review.task.metadata):
        yield from _render_file(file, f"{index + 1}. ", width)
        if index < len(contents):
            yield from _render_content(contents[index], file.size, width, keys)


def _render_content(data: bytes, size: int, width: int, keys: Mapping[str, str]) -> Iterator[Content]:
    metadata = render_metadata(data, size)
    yield Content.styled(f"{GUTTER}{metadata.kind}", "$text-muted")
    for line in metadata.content.split("\n", allow_blank=True) if metadata.content else ():
        for part in line.wrap(max(1, width - len(GUTTER))):
            yield Content.assemble(Content.styled(GUTTER, "$text-muted"), part)
    if metadata.omitted:
        pager_key = keys["approvals.pager"]
        yield Content.styled(f"! {metadata.omitted}; press {pager_key} to open it in the pager", "$warning")


# ---- differences


def _render_changes(review: ApprovalReview, width: int, names: SubjectNames) -> Iterator[Content]:
    if review.task.kind is not TaskKind.PACKAGING:
        yield Content.styled("Only packages are compared.", "$text-muted")
        return
    if review.previous is None:
        yield _format_marked_line("!", "First package for this device configuration.", "$warning", width)
        return
    previous = review.previous
    requester = format_subject(previous.created_by, names)
    text = f"{task_title(previous)}, requested by {requester} at {format_time(previous.created_at)}"
    yield _indent(Content("compared with "), Content(escape_text(text)), width)
    diff = diff_packages(previous, review.task)
    if diff.is_empty:
        yield _format_marked_line("=", "No changes: same files, keys and terms.", "$text-muted", width)
        return
    yield from _render_term_changes(diff, width)
    for change in (*diff.firmware, *diff.metadata):
        yield from _render_file_change(change, width)


def _render_term_changes(diff: PackageDiff, width: int) -> Iterator[Content]:
    for change in diff.terms:
        text = f"{escape_text(change.before) or 'none'} → {escape_text(change.after) or 'none'}"
        yield _indent(Content.styled(f"~ {change.term}: ", "$warning"), Content(text), width)
    if diff.reordered:
        yield _format_marked_line("~", "firmware order changed", "$warning", width)


def _render_file_change(change: FileChange, width: int) -> Iterator[Content]:
    sign, style = _CHANGE_SIGNS[change.kind]
    growth = f"  {_format_growth(change.growth)}" if change.kind not in (ChangeKind.SAME, ChangeKind.RENAMED) else ""
    label = Content.styled(f"{sign} {change.kind:<8}", style)
    yield _indent(label, Content(f"{escape_text(change.name)}{growth}"), width)
    if change.kind is ChangeKind.CHANGED and change.before is not None and change.after is not None:
        yield _indent(Content("  was "), Content(change.before.sha256), width)
        yield _indent(Content("  now "), Content.styled(change.after.sha256, "bold"), width)


def _format_growth(count: int) -> str:
    if not count:
        return "same size"
    return f"{abs(count):,} bytes {'more' if count > 0 else 'less'}"


# ---- decisions


def _render_decisions(task: Task, width: int, names: SubjectNames) -> Iterator[Content]:
    if not task.approvals:
        yield Content.styled("No decisions yet.", "$text-muted")
    for approval in task.approvals:
        yield _render_decision(approval, width, names)
    yield Content.styled("── end ──", "$text-muted")


def _render_decision(decision: Decision, width: int, names: SubjectNames) -> Content:
    is_approved = decision.verdict is Verdict.APPROVED
    reason = f": {decision.reason}" if decision.reason else ""
    text = f"{decision.verdict} by {format_decider(decision, names)} at {format_time(decision.at)}{reason}"
    return _format_marked_line(
        "✓" if is_approved else "✗", escape_text(text), "$success" if is_approved else "$error", width
    )


# ---- layout


def _format_marked_line(sign: str, text: str, style: str, width: int) -> Content:
    return _indent(Content.styled(f"{sign} ", style), Content.styled(text, style), width)


def _indent(label: Content, text: Content, width: int) -> Content:
    """Return ``label`` followed by ``text``, wrapped to ``width`` cells with a hanging indent."""
    indent = "\n" + " " * label.cell_length
    return Content.assemble(label, Content(indent).join(text.wrap(max(1, width - label.cell_length))))


def _join_lines(lines: Iterable[Content]) -> Content:
    return Content("\n").join(lines)
