"""Rules for results: which tasks have an artifact, and the state of its link.

A result is AVAILABLE until its link expires, then EXPIRED, then GONE with its artifact.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import msgspec

from sealyard.model.errors import ConflictError, ResultGoneError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus


def require_artifact(task: Task) -> Result:
    """Return the task's result, whose ``sha256`` and ``size`` are set.

    Raises :class:`ConflictError` if the task has no result, or a signature instead of an artifact.
    """
    if task.status is not TaskStatus.DONE or task.result is None:
        reason = f" {task.reason}" if task.reason else ""
        raise ConflictError(
            f"Task {task.id} is {task.detailed_status}: it has no result.{reason}", "Wait until it is DONE."
        )
    if task.result.sha256 is None or task.result.size is None:
        raise ConflictError("Signing tasks have no file.", Hint.of(HintCode.SHOW_SIGNATURE, task_id=task.id))
    return task.result


def content_disposition(file_name: str) -> str:
    """Return the header Content-Disposition with which browsers save a file under this name, as far as it is ASCII."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", file_name) or "result"
    return f'attachment; filename="{name}"'


def state_at(result: Result, now: datetime) -> ResultState:
    """Return the state of ``result`` at ``now``, even if that state has not been recorded yet."""
    if result.state is ResultState.GONE or (result.retained_until is not None and now >= result.retained_until):
        return ResultState.GONE
    if result.expires_at is not None and now >= result.expires_at:
        return ResultState.EXPIRED
    return result.state


def refreshed(result: Result, now: datetime) -> Result:
    """Return ``result`` with its state at ``now``, and without its link unless it is AVAILABLE."""
    state = state_at(result, now)
    link = result.link if state is ResultState.AVAILABLE else None
    return msgspec.structs.replace(result, state=state, link=link)


def with_new_link(result: Result, link: str, expires_at: datetime, now: datetime) -> Result:
    """Return ``result`` with a new link, which expires at the latest when the artifact is removed.

    Raises :class:`ConflictError` if the result is a signature, and :class:`ResultGoneError` if the artifact has been
    removed.
    """
    if result.retained_until is None:
        raise ConflictError("Signatures have no download link.", "Read the signature from the task.")
    if state_at(result, now) is ResultState.GONE:
        raise ResultGoneError(
            "The artifact was removed at the end of its retention period.", "Submit the request again."
        )
    return msgspec.structs.replace(
        result, state=ResultState.AVAILABLE, link=link, expires_at=min(expires_at, result.retained_until)
    )


def link_expiry(now: datetime, link_ttl_seconds: int, retained_until: datetime) -> datetime:
    return min(now + timedelta(seconds=link_ttl_seconds), retained_until)
