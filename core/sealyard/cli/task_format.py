"""Formatting of tasks as text: lists, summaries, and reviews for approvers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sealyard.cli.output import format_fields, format_table
from sealyard.model.approval import valid_approvers
from sealyard.model.formatting import (
    format_count,
    format_decider,
    format_size_exact,
    format_time,
    format_time_left,
    shorten_middle,
)
from sealyard.model.metadata_changes import MetadataChanges
from sealyard.model.package_diff import ChangeKind, diff_packages
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_multiline
from sealyard.model.subject_names import SubjectNames, format_subject
from sealyard.model.tasks import InputFile, Result, ResultState, Task, TaskKind, TaskStatus

_HEADERS = ("ID", "STATUS", "KIND", "NAME", "DEVICE", "REQUESTER", "CREATED", "RESULT")
_PREVIEW_LINES = 20
_MAX_VALUE_LENGTH = 200
_CHANGE_SIGNS = {
    ChangeKind.ADDED: "+",
    ChangeKind.REMOVED: "-",
    ChangeKind.CHANGED: "~",
    ChangeKind.RENAMED: "~",
}


def format_tasks(tasks: Iterable[Task], names: SubjectNames) -> Iterator[str]:
    rows = (
        (
            task.id,
            task.status,
            task.kind,
            task.name,
            f"{task.config_name} v{task.config_version}",
            format_subject(task.created_by, names),
            format_time(task.created_at),
            _format_result_state(task),
        )
        for task in tasks
    )
    return format_table(_HEADERS, rows, "No tasks.")


def format_task(task: Task) -> list[str]:
    """Return the lines of a task summary, for commands that create, change or wait for a task."""
    reason = f": {task.reason}" if task.reason else ""
    is_waiting = task.status is TaskStatus.WAITING
    lines = [
        f"{task.kind} task {task.id} {task.name}",
        *format_fields(
            (
                ("status", f"{task.status}{reason}"),
                ("approvals", _format_approvals(task)),
                ("approval expires", format_time(task.approval_expires_at) if is_waiting else ""),
            )
        ),
    ]
    lines += [f"warning: {warning}" for warning in task.warnings]
    if task.result is not None:
        lines += _format_result(task.result)
    return lines


def format_review(review: ApprovalReview, names: SubjectNames) -> list[str]:
    """Return everything that an approver must review before a decision. ``names``: the display names of subjects."""
    task = review.task
    newer_version_note = f" (newer version available: {review.newer_version})" if review.newer_version else ""
    lines = list(
        format_fields(
            (
                ("task", f"{task.id}, {task.kind}"),
                ("name", task.name),
                ("status", task.status),
                ("reason", task.reason),
                ("warning", task.warning),
                ("content type", task.content_type),
                ("requested by", f"{format_subject(task.created_by, names)} at {format_time(task.created_at)}"),
                (
                    "device",
                    f"{task.config_name} version {task.config_version}{newer_version_note}, id {task.config_id}",
                ),
                ("format", task.format),
                ("encryption", format_key(task.encryption_key)),
                ("signing", format_key(task.signing_key)),
                ("approvals", _format_approvals(task)),
                ("approval expires", format_time_left(task.approval_expires_at, datetime.now(UTC))),
                ("approval digest", task.approval_digest),
                ("you", review.blocked_reason or "You can decide on this task."),
                ("self-approved", "for demonstration only; do not release" if task.self_approved else ""),
            )
        )
    )
    lines += [f"warning: {warning}" for warning in (*task.warnings, *review.warnings)]
    lines += format_task_files(task)
    lines += [line for name, preview in review.metadata for line in _format_preview(name, printable(preview))]
    lines += _format_changes(review)
    lines += [_format_decision(task, position, names) for position in range(len(task.approvals))]
    if task.subtasks:
        rows = [(subtask.id, subtask.status, subtask.kind, subtask.name) for subtask in task.subtasks]
        lines += ["subtasks", *(f"  {line}" for line in format_table(("ID", "STATUS", "KIND", "NAME"), rows, ""))]
    history = ((format_time(change.at), f"{change.status} {change.note}".rstrip()) for change in task.history)
    lines += ["history", *(f"  {line}" for line in format_fields(history))]
    return lines + (_format_result(task.result) if task.result is not None else [])


def printable(preview: bytes) -> str:
    """Decode untrusted bytes to text that cannot control a terminal."""
    return escape_multiline(preview.decode("utf-8", "replace"))


def format_key(key: object) -> str:
    from sealyard.model.device_configs import EncryptionKey, SigningKey

    if not isinstance(key, EncryptionKey | SigningKey):
        return ""
    name = f" ({key.name})" if key.name else ""
    return f"{key.algorithm} with {key.uri} v{key.version}{name}"


def _format_approvals(task: Task) -> str:
    if not task.approvals_required:
        return "not required"
    return f"{len(valid_approvers(task, task.approvals))} of {task.approvals_required}"


def format_task_files(task: Task) -> list[str]:
    label = "firmware" if task.kind is TaskKind.PACKAGING else "input"
    return [*_format_files(label, task.inputs), *_format_files("metadata", task.metadata)]


def _format_decision(task: Task, position: int, names: SubjectNames) -> str:
    decision, revocation = task.approvals[position], task.revocation_of(position)
    reason = f": {decision.reason}" if decision.reason else ""
    text = f"{decision.verdict.lower()} by {format_decider(decision, names)} at {format_time(decision.at)}{reason}"
    return f"{text} (no longer counts: {revocation.reason})" if revocation is not None else text


def _format_files(label: str, files: Iterable[InputFile]) -> list[str]:
    return [f"{label}  {file.name}  {format_size_exact(file.size)}  sha256 {file.sha256}" for file in files]


def _format_preview(name: str, text: str) -> list[str]:
    if not text:
        return []
    lines = text.splitlines()
    omitted_count = len(lines) - _PREVIEW_LINES
    omission_note = [f"  | … {format_count(omitted_count, 'more line')}"] if omitted_count > 0 else []
    return [f"start of {name}:", *(f"  | {line}" for line in lines[:_PREVIEW_LINES]), *omission_note]


def _format_changes(review: ApprovalReview) -> list[str]:
    """Return what has changed since the last released package of the same configuration."""
    previous = review.previous
    if previous is None:
        return []
    diff = diff_packages(previous, review.task)
    lines = [
        f"since the last released package: {previous.id} {previous.name}, {format_time(previous.created_at)}",
        *(f"  ~ {change.term}: {change.before or 'none'} → {change.after or 'none'}" for change in diff.terms),
    ]
    if diff.reordered:
        lines.append("  ~ firmware order changed")
    changed_files = [change for change in (*diff.firmware, *diff.metadata) if change.kind is not ChangeKind.SAME]
    lines += [f"  {_CHANGE_SIGNS[change.kind]} {change.kind} {change.name}" for change in changed_files]
    lines += [line for changes in review.metadata_changes for line in _format_metadata_changes(changes)]
    return lines if len(lines) > 1 else [*lines, "  = no changes: same files, keys and terms"]


def _format_metadata_changes(changes: MetadataChanges) -> Iterator[str]:
    yield f"  fields of {changes.name}:"
    if changes.problem:
        yield f"    {changes.problem}"
    elif not changes.fields:
        yield "    no field changed"
    for change in changes.fields:
        path = change.path or "(whole file)"
        sign = "+" if change.old is None else "-" if change.new is None else "~"
        values = [shorten_middle(value, _MAX_VALUE_LENGTH) for value in (change.old, change.new) if value is not None]
        yield f"    {sign} {path}: {' → '.join(values)}"
    if changes.omitted:
        yield f"    … {format_count(changes.omitted, 'more change')}"


def _format_result(result: Result) -> list[str]:
    now = datetime.now(UTC)
    is_available = result.state is ResultState.AVAILABLE
    return list(
        format_fields(
            (
                ("result", f"{result.state}{' (self-approved: do not release)' if result.self_approved else ''}"),
                ("file", result.file_name),
                ("size", format_size_exact(result.size) if result.size is not None else ""),
                ("sha256", result.sha256),
                ("link expires", format_time_left(result.expires_at, now) if is_available else ""),
                ("retained until", format_time_left(result.retained_until, now)),
                ("signature", result.signature),
            )
        )
    )


def _format_result_state(task: Task) -> str:
    if task.result is None:
        return task.reason
    return "signature" if task.result.signature is not None else task.result.state
