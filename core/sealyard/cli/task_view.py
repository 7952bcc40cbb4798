"""Tasks as people read them: a line in a list, and everything an approver must see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sealyard.cli.text import fields, table
from sealyard.model.requests import Decidable
from sealyard.model.safe_text import safe_lines
from sealyard.model.tasks import InputFile, Result, ResultState, Task, TaskStatus
from sealyard.model.wording import decided_by, left_text, size_text, time_text

_HEADS = ("ID", "STATUS", "KIND", "NAME", "DEVICE", "BY", "CREATED", "RESULT")
_PREVIEW_LINES = 20


def task_table(tasks: Iterable[Task]) -> Iterator[str]:
    rows = (
        (
            each.id,
            each.status,
            each.kind,
            each.name,
            f"{each.config_name} v{each.config_version}",
            each.created_by,
            time_text(each.created_at),
            _result_word(each),
        )
        for each in tasks
    )
    return table(_HEADS, rows, "There are no such tasks.")


def task_lines(task: Task) -> list[str]:
    """How the task stands, after a command that did something with it."""
    reason = f": {task.reason}" if task.reason else ""
    waiting = task.status is TaskStatus.WAITING
    lines = [
        f"{task.kind} task {task.id} {task.name}",
        *fields(
            (
                ("status", f"{task.status}{reason}"),
                ("approvals", _approval_count(task)),
                ("approval until", time_text(task.approval_expires_at) if waiting else ""),
            )
        ),
    ]
    lines += [f"warning: {each}" for each in task.warnings]
    if task.result is not None:
        lines += _result_lines(task.result)
    return lines


def decidable_lines(seen: Decidable) -> list[str]:
    """All that is to be looked at before a decision."""
    task = seen.task
    newer = f" (there is a newer version {seen.newer_version})" if seen.newer_version else ""
    lines = list(
        fields(
            (
                ("task", f"{task.id}, {task.kind}"),
                ("name", task.name),
                ("status", task.status),
                ("reason", task.reason),
                ("attention", task.attention),
                ("content type", task.content_type),
                ("asked for by", f"{task.created_by} at {time_text(task.created_at)}"),
                ("configuration", f"{task.config_name} version {task.config_version}{newer}, id {task.config_id}"),
                ("format", task.format),
                ("encryption", _key_words(task.encryption_key)),
                ("signing", _key_words(task.signing_key)),
                ("approvals", _approval_count(task)),
                ("approval until", left_text(task.approval_expires_at, datetime.now(UTC))),
                ("approval digest", task.approval_digest),
                ("you", seen.hindrance or "You may decide on this task."),
                ("trial", "self-approval: not to be released" if task.trial else ""),
            )
        )
    )
    lines += [f"warning: {each}" for each in task.warnings]
    lines += _file_lines("firmware" if task.subtasks else "input", task.inputs)
    lines += _file_lines("metadata", task.metadata)
    lines += [line for name, beginning in seen.metadata for line in _preview_lines(name, readable(beginning))]
    lines += _previous_lines(seen.previous)
    lines += [
        f"{each.verdict.lower()} by {decided_by(each)} at {time_text(each.at)}"
        + (f": {each.reason}" if each.reason else "")
        for each in task.approvals
    ]
    if task.subtasks:
        rows = [(each.id, each.status, each.kind, each.name) for each in task.subtasks]
        lines += ["sub-tasks", *(f"  {line}" for line in table(("ID", "STATUS", "KIND", "NAME"), rows, ""))]
    history = ((time_text(each.at), f"{each.status} {each.note}".rstrip()) for each in task.history)
    lines += ["history", *(f"  {line}" for line in fields(history))]
    return lines + (_result_lines(task.result) if task.result is not None else [])


def readable(beginning: bytes) -> str:
    """Foreign bytes as text that does no harm to a terminal."""
    return safe_lines(beginning.decode("utf-8", "replace"))


def _key_words(key: object) -> str:
    from sealyard.model.devices import EncryptionKey, SigningKey

    return f"{key.algorithm} with {key.uri} v{key.version}" if isinstance(key, EncryptionKey | SigningKey) else ""


def _approval_count(task: Task) -> str:
    return f"{len(task.approvals)} of {task.approvals_required}" if task.approvals_required else "none needed"


def _file_lines(label: str, files: Iterable[InputFile]) -> list[str]:
    return [f"{label}  {each.name}  {size_text(each.size)} ({each.size} bytes)  sha256 {each.sha256}" for each in files]


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
    return [f"previous package: {previous.id} {previous.name}, {time_text(previous.created_at)}: {files}"]


def _result_lines(result: Result) -> list[str]:
    now = datetime.now(UTC)
    available = result.state is ResultState.AVAILABLE
    return list(
        fields(
            (
                ("result", f"{result.state}{' (trial: not to be released)' if result.trial else ''}"),
                ("file", result.file_name),
                ("size", f"{size_text(result.size)} ({result.size} bytes)" if result.size is not None else ""),
                ("sha256", result.sha256),
                ("link until", left_text(result.expires_at, now) if available else ""),
                ("kept until", left_text(result.kept_until, now)),
                ("signature", result.signature),
            )
        )
    )


def _result_word(task: Task) -> str:
    if task.result is None:
        return task.reason
    return "signature" if task.result.signature is not None else task.result.state
