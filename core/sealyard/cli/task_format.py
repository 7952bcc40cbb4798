"""Tasks as people read them: a line in a list, and everything an approver must see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sealyard.cli.output import format_fields, format_table
from sealyard.model.formatting import format_decider, format_size, format_time, format_time_left
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_multiline
from sealyard.model.tasks import InputFile, Result, ResultState, Task, TaskStatus

_HEADS = ("ID", "STATUS", "KIND", "NAME", "DEVICE", "BY", "CREATED", "RESULT")
_PREVIEW_LINES = 20


def format_tasks(tasks: Iterable[Task]) -> Iterator[str]:
    rows = (
        (
            each.id,
            each.status,
            each.kind,
            each.name,
            f"{each.config_name} v{each.config_version}",
            each.created_by,
            format_time(each.created_at),
            _format_result_state(each),
        )
        for each in tasks
    )
    return format_table(_HEADS, rows, "There are no such tasks.")


def format_task(task: Task) -> list[str]:
    """How the task stands, after a command that did something with it."""
    reason = f": {task.reason}" if task.reason else ""
    waiting = task.status is TaskStatus.WAITING
    lines = [
        f"{task.kind} task {task.id} {task.name}",
        *format_fields(
            (
                ("status", f"{task.status}{reason}"),
                ("approvals", _approval_count(task)),
                ("approval until", format_time(task.approval_expires_at) if waiting else ""),
            )
        ),
    ]
    lines += [f"warning: {each}" for each in task.warnings]
    if task.result is not None:
        lines += _result_lines(task.result)
    return lines


def format_review(seen: ApprovalReview) -> list[str]:
    """All that is to be looked at before a decision."""
    task = seen.task
    newer = f" (there is a newer version {seen.newer_version})" if seen.newer_version else ""
    lines = list(
        format_fields(
            (
                ("task", f"{task.id}, {task.kind}"),
                ("name", task.name),
                ("status", task.status),
                ("reason", task.reason),
                ("attention", task.warning),
                ("content type", task.content_type),
                ("asked for by", f"{task.created_by} at {format_time(task.created_at)}"),
                ("configuration", f"{task.config_name} version {task.config_version}{newer}, id {task.config_id}"),
                ("format", task.format),
                ("encryption", _format_key(task.encryption_key)),
                ("signing", _format_key(task.signing_key)),
                ("approvals", _approval_count(task)),
                ("approval until", format_time_left(task.approval_expires_at, datetime.now(UTC))),
                ("approval digest", task.approval_digest),
                ("you", seen.blocked_reason or "You may decide on this task."),
                ("trial", "self-approval: not to be released" if task.self_approved else ""),
            )
        )
    )
    lines += [f"warning: {each}" for each in task.warnings]
    lines += _file_lines("firmware" if task.subtasks else "input", task.inputs)
    lines += _file_lines("metadata", task.metadata)
    lines += [line for name, beginning in seen.metadata for line in _preview_lines(name, printable(beginning))]
    lines += _previous_lines(seen.previous)
    lines += [
        f"{each.verdict.lower()} by {format_decider(each)} at {format_time(each.at)}"
        + (f": {each.reason}" if each.reason else "")
        for each in task.approvals
    ]
    if task.subtasks:
        rows = [(each.id, each.status, each.kind, each.name) for each in task.subtasks]
        lines += ["sub-tasks", *(f"  {line}" for line in format_table(("ID", "STATUS", "KIND", "NAME"), rows, ""))]
    history = ((format_time(each.at), f"{each.status} {each.note}".rstrip()) for each in task.history)
    lines += ["history", *(f"  {line}" for line in format_fields(history))]
    return lines + (_result_lines(task.result) if task.result is not None else [])


def printable(beginning: bytes) -> str:
    """Foreign bytes as text that does no harm to a terminal."""
    return escape_multiline(beginning.decode("utf-8", "replace"))


def _format_key(key: object) -> str:
    from sealyard.model.device_configs import EncryptionKey, SigningKey

    return f"{key.algorithm} with {key.uri} v{key.version}" if isinstance(key, EncryptionKey | SigningKey) else ""


def _approval_count(task: Task) -> str:
    return f"{len(task.approvals)} of {task.approvals_required}" if task.approvals_required else "none needed"


def _file_lines(label: str, files: Iterable[InputFile]) -> list[str]:
    return [
        f"{label}  {each.name}  {format_size(each.size)} ({each.size} bytes)  sha256 {each.sha256}" for each in files
    ]


def _preview_lines(name: str, text: str) -> list[str]:
    if not text:
        return []
    lines = text.splitlines()
    more = [f"  | … {len(lines) - _PREVIEW_LINES} more lines"] if len(lines) > _PREVIEW_LINES else []
    return [f"beginning of {name}:", *(f"  | {line}" for line in lines[:_PREVIEW_LINES]), *more]


def _previous_lines(previous: Task | None) -> list[str]:
    if previous is None:
        return []
    files = ", ".join(f"{each.name} {each.sha256[:12]}" for each in previous.inputs)
    return [f"previous package: {previous.id} {previous.name}, {format_time(previous.created_at)}: {files}"]


def _result_lines(result: Result) -> list[str]:
    now = datetime.now(UTC)
    available = result.state is ResultState.AVAILABLE
    return list(
        format_fields(
            (
                ("result", f"{result.state}{' (trial: not to be released)' if result.self_approved else ''}"),
                ("file", result.file_name),
                ("size", f"{format_size(result.size)} ({result.size} bytes)" if result.size is not None else ""),
                ("sha256", result.sha256),
                ("link until", format_time_left(result.expires_at, now) if available else ""),
                ("kept until", format_time_left(result.retained_until, now)),
                ("signature", result.signature),
            )
        )
    )


def _format_result_state(task: Task) -> str:
    if task.result is None:
        return task.reason
    return "signature" if task.result.signature is not None else task.result.state
