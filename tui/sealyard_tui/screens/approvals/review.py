"""Rendering of a task review as sections of text. Escapes all untrusted text. Performs no I/O."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
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
from sealyard.model.package_diff import format_key
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject, insert_subject_names
from sealyard.model.tasks import InputFile, Task, TaskKind, TaskStatus, Verdict
from sealyard_tui.formatting import format_fields, status_badge, task_title
from sealyard_tui.screens.approvals.changes_view import render_changes
from sealyard_tui.screens.approvals.metadata_view import render_metadata
from sealyard_tui.screens.approvals.row import is_timed_out
from sealyard_tui.text_layout import format_marked_line, format_warnings, indent, join_lines, summarize_warnings

SECTIONS = ("verdict", "request", "files", "changes", "warnings", "metadata", "decisions")

GUTTER = "│ "
"""Prefix of each line of metadata, so that it cannot be mistaken for the application's own text."""

LABEL_WIDTH = len("configuration") + 2
"""Width of the labels of the request, in cells."""

TIMED_OUT_TEXT = "The approval period has expired. The task can no longer be decided and will be cancelled."


def render_sections(
    review: ApprovalReview, now: datetime, width: int, keys: Mapping[str, str], names: SubjectNames
) -> dict[str, tuple[str, Content]]:
    """Return the heading and the text of each section in :data:`SECTIONS`; there is none for no warnings.

    ``width``: line width in cells. ``keys``: the keys bound to actions, by binding id. ``names``: display names of
    subjects.
    """
    task, warnings = review.task, _list_warnings(review)
    warnings_heading = f"Warnings ({len(warnings)})"
    return {
        "verdict": ("", render_verdict(review, now, width)),
        "request": ("Request", _render_request(review, width, names)),
        "files": (_format_files_heading(task), join_lines(_render_files(task, width, keys))),
        "changes": ("Since the last released package", join_lines(render_changes(review, width, names))),
        **({"warnings": (warnings_heading, format_warnings(warnings, width))} if warnings else {}),
        "metadata": (f"Metadata ({len(task.metadata)})", join_lines(_render_metadata(review, width, keys))),
        "decisions": ("Decisions", join_lines(_render_decisions(task, width, names))),
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
    """Render the number of warnings with the first of them, and whether the user can decide on the task."""
    task, warnings = review.task, _list_warnings(review)
    lines = [summarize_warnings(warnings, width)] if warnings else []
    if is_timed_out(task, now) and task.status is TaskStatus.WAITING:
        lines.append(format_marked_line("✗", TIMED_OUT_TEXT, "$error", width))
    elif review.blocked_reason:
        lines.append(format_marked_line("✗", escape_text(review.blocked_reason), "$warning", width))
    else:
        deadline = (
            f", until {format_time_left(task.approval_expires_at, now)}" if task.approval_expires_at is not None else ""
        )
        lines.append(format_marked_line("✓", f"You may decide on this task{deadline}.", "$success", width))
    if task.self_approved:
        text = "SELF-APPROVAL TRIAL: the requester may approve. The result is marked; do not release it."
        lines.append(format_marked_line("✗", text, "$error", width))
    return join_lines(lines)


def _list_warnings(review: ApprovalReview) -> list[str]:
    """Return all warnings as safe texts, those about this task first."""
    task = review.task
    newer_version_note = (
        f"{task.config_name} has a newer version {review.newer_version}; this task uses version {task.config_version}."
        if review.newer_version
        else ""
    )
    warnings = (task.warning, newer_version_note, *task.warnings, *review.warnings, *review.configuration.warnings)
    return [escape_text(each) for each in dict.fromkeys(warnings) if each]


def _render_request(review: ApprovalReview, width: int, names: SubjectNames) -> Content:
    task, device = review.task, review.configuration
    version_note = f" (newest: {review.newer_version})" if review.newer_version else " (newest)"
    return format_fields(
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
            ("digest", _format_digest(task.approval_digest, width - LABEL_WIDTH)),
        ],
        width=width,
    )


def _format_digest(digest: str, width: int) -> str:
    """Return the digest in one line, or in two halves, which are easier to compare than a line and a short rest."""
    middle = len(digest) // 2
    return (
        escape_text(digest)
        if len(digest) <= width
        else f"{escape_text(digest[:middle])}\n{escape_text(digest[middle:])}"
    )


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
    yield indent(Content(sign), name, width)
    yield indent(Content(" " * len(sign)), digest, width)


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


# ---- decisions


def _render_decisions(task: Task, width: int, names: SubjectNames) -> Iterator[Content]:
    if not task.approvals:
        yield Content.styled("No decisions yet.", "$text-muted")
    for position in range(len(task.approvals)):
        yield _render_decision(task, position, width, names)
    yield Content.styled("── end ──", "$text-muted")


def _render_decision(task: Task, position: int, width: int, names: SubjectNames) -> Content:
    decision, revocation = task.approvals[position], task.revocation_of(position)
    is_approved = decision.verdict is Verdict.APPROVED
    reason = f": {decision.reason}" if decision.reason else ""
    text = f"{decision.verdict} by {format_decider(decision, names)} at {format_time(decision.at)}{reason}"
    if revocation is not None:
        return format_marked_line("!", escape_text(f"{text}. No longer counts: {revocation.reason}"), "$warning", width)
    return format_marked_line(
        "✓" if is_approved else "✗", escape_text(text), "$success" if is_approved else "$error", width
    )
