"""Formatting of tasks as text: lists, summaries, and reviews for approvers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from sealyard.cli.output import format_fields, format_table
from sealyard.model.approval import valid_approvers
from sealyard.model.formatting import format_count, format_decider, format_size_exact, format_time, format_time_left
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_multiline
from sealyard.model.subject_names import SubjectNames, format_subject
from sealyard.model.tasks import InputFile, Result, ResultState, Task, TaskStatus

_HEADERS = ("ID", "STATUS", "KIND", "NAME", "DEVICE", "REQUESTER", "CREATED", "RESULT")
_PREVIEW_LINES = 20


def format_tasks(tasks: Iterable[Task], names: SubjectNames) -> Iterator[str]:
    rows = (
        (
            task.id,
            task.detailed_status,
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
                ("status", f"{task.detailed_status}{reason}"),
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
                ("status", task.detailed_status),
                ("reason", task.reason),
                ("justification", task.justification),
                ("resubmission of", _format_resubmission(task, review.resubmission_of)),
                ("warning", task.warning),
                ("content type", task.content_type),
                ("requested by", f"{format_subject(task.created_by, names)} at {format_time(task.created_at)}"),
                (
                    "device",
                    f"{task.config_name} version {task.config_version}{newer_version_note}, id {task.config_id}",
                ),
                ("format", task.format),
                ("encryption", _format_key(task.encryption_key)),
                ("signing", _format_key(task.signing_key)),
                ("approvals", _format_approvals(task)),
                ("approval expires", format_time_left(task.approval_expires_at, datetime.now(UTC))),
                ("approval digest", task.approval_digest),
                ("you", review.blocked_reason or "You can decide on this task."),
                ("self-approved", "for demonstration only; do not release" if task.self_approved else ""),
            )
        )
    )
    lines += [f"warning: {warning}" for warning in task.warnings]
    lines += _format_files("firmware" if task.subtasks else "input", task.inputs)
    lines += _format_files("metadata", task.metadata)
    lines += [line for name, preview in review.metadata for line in _format_preview(name, printable(preview))]
    lines += _format_previous_task(review.previous)
    lines += [
        f"{decision.verdict.lower()} by {format_decider(decision, names)} at {format_time(decision.at)}"
        + (f": {decision.reason}" if decision.reason else "")
        for decision in task.approvals
    ]
    if task.subtasks:
        rows = [(subtask.id, subtask.status, subtask.kind, subtask.name) for subtask in task.subtasks]
        lines += ["subtasks", *(f"  {line}" for line in format_table(("ID", "STATUS", "KIND", "NAME"), rows, ""))]
    history = ((format_time(change.at), f"{change.status} {change.note}".rstrip()) for change in task.history)
    lines += ["history", *(f"  {line}" for line in format_fields(history))]
    return lines + (_format_result(task.result) if task.result is not None else [])


def task_value(task: Task) -> dict[str, Any]:
    """Return a task for JSON output, with its detailed status."""
    return {**msgspec.to_builtins(task), "detailedStatus": task.detailed_status.value}


def printable(preview: bytes) -> str:
    """Decode untrusted bytes to text that cannot control a terminal."""
    return escape_multiline(preview.decode("utf-8", "replace"))


def _format_resubmission(task: Task, earlier_task: Task | None) -> str:
    if earlier_task is None:
        return task.resubmission_of or ""
    return f"{earlier_task.id} {earlier_task.name}, {earlier_task.detailed_status}: {earlier_task.reason}"


def _format_key(key: object) -> str:
    from sealyard.model.device_configs import EncryptionKey, SigningKey

    if not isinstance(key, EncryptionKey | SigningKey):
        return ""
    name = f" ({key.name})" if key.name else ""
    return f"{key.algorithm} with {key.uri} v{key.version}{name}"


def _format_approvals(task: Task) -> str:
    if not task.approvals_required:
        return "not required"
    return f"{len(valid_approvers(task, task.approvals))} of {task.approvals_required}"


def _format_files(label: str, files: Iterable[InputFile]) -> list[str]:
    return [f"{label}  {file.name}  {format_size_exact(file.size)}  sha256 {file.sha256}" for file in files]


def _format_preview(name: str, text: str) -> list[str]:
    if not text:
        return []
    lines = text.splitlines()
    omitted_count = len(lines) - _PREVIEW_LINES
    omission_note = [f"  | … {format_count(omitted_count, 'more line')}"] if omitted_count > 0 else []
    return [f"start of {name}:", *(f"  | {line}" for line in lines[:_PREVIEW_LINES]), *omission_note]


def _format_previous_task(previous_task: Task | None) -> list[str]:
    if previous_task is None:
        return []
    files = ", ".join(f"{file.name} {file.sha256[:12]}" for file in previous_task.inputs)
    return [
        f"previous package: {previous_task.id} {previous_task.name}, {format_time(previous_task.created_at)}: {files}"
    ]


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
