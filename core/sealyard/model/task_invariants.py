"""Invariants of every stored change of a task, checked independently of the code that computes the change. No I/O."""

from __future__ import annotations

from itertools import pairwise

from sealyard.model.errors import InvariantError
from sealyard.model.tasks import StatusChange, Task, TaskStatus
from sealyard.model.transitions import NEXT


def check_change(old_task: Task | None, new_task: Task) -> None:
    """Check a change of a task before it is stored, independently of the code that computed the change.

    A final status is never left, statuses follow the table of transitions, fencing tokens never decrease, history,
    approvals and revocations are only appended to, and the approval digest, the digest of the intent, the justification
    and the earlier task of a resubmission do not change. ``old_task`` is None for a new task.

    Raises :class:`InvariantError` if the change violates one of these invariants.
    """
    if old_task is None:
        _require(new_task, new_task.history[0].status is TaskStatus.CREATED, "must start as CREATED")
        _check_history(new_task, new_task.history)
        return
    _require(
        new_task,
        new_task.id == old_task.id and new_task.approval_digest == old_task.approval_digest,
        "must keep its ID and approval digest",
    )
    _require(
        new_task,
        (new_task.justification, new_task.resubmission_of) == (old_task.justification, old_task.resubmission_of),
        "must keep its justification and the task that it replaces",
    )
    _require(new_task, new_task.fencing_token >= old_task.fencing_token, "must not decrease its fencing token")
    _require(new_task, new_task.history[: len(old_task.history)] == old_task.history, "must keep its history")
    _require(new_task, new_task.approvals[: len(old_task.approvals)] == old_task.approvals, "must keep its decisions")
    _require(
        new_task,
        new_task.revoked_approvals[: len(old_task.revoked_approvals)] == old_task.revoked_approvals,
        "must not restore revoked approvals",
    )
    if old_task.intent is not None:
        _require(
            new_task,
            new_task.intent is not None and new_task.intent.sha256 == old_task.intent.sha256,
            "must not sign different data",
        )
    _check_history(new_task, new_task.history[len(old_task.history) - 1 :])


def check_key_use(task: Task, fencing_token: int, sha256: str) -> None:
    """Check that the task is RUNNING under ``fencing_token`` and that its intent covers ``sha256``.

    Raises :class:`InvariantError` if either is not the case.
    """
    intent = task.intent
    _require(
        task,
        task.status is TaskStatus.RUNNING and task.fencing_token == fencing_token,
        "must be RUNNING under its fencing token to use a key",
    )
    _require(
        task,
        intent is not None and intent.sha256 == sha256 and intent.fencing_token == fencing_token,
        "must have a recorded intent to use a key",
    )


def _check_history(task: Task, history: tuple[StatusChange, ...]) -> None:
    _require(task, history[-1].status is task.status, "must have its status as the last one of its history")
    for previous_change, next_change in pairwise(history):
        _require(
            task,
            next_change.status in NEXT[previous_change.status],
            f"must not change from {previous_change.status} to {next_change.status}",
        )


def _require(task: Task, condition: bool, invariant: str) -> None:
    if not condition:
        raise InvariantError(
            f"Rejected a change to task {task.id}: a task {invariant}.",
            "Nothing was stored. This is a bug in Sealyard; report it with the log.",
        )
