"""Tests of the invariants that a unit of work checks before it stores a task."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from sealyard.model.errors import InvariantError
from sealyard.model.lifecycle import transition_error
from sealyard.model.task_invariants import check_change, check_key_use
from sealyard.model.tasks import Intent, StatusChange, Task, TaskStatus
from sealyard.model.triggers import ApproversChanged, Cancelled, IntentRecorded, LeaseExpired, Withdrawn
from tests.support.factories.tasks import (
    NOW,
    SCHEDULED,
    apply_triggers,
    approval,
    approved,
    lease,
    package,
    running,
    scheduled,
    waiting,
)

S = TaskStatus
SHA256 = "cc" * 32


def with_status(task: Task, status: TaskStatus, **changes: object) -> Task:
    history = (*task.history, StatusChange(status=status, at=NOW))
    return msgspec.structs.replace(task, status=status, history=history, **changes)


def withdrawn() -> Task:
    return apply_triggers(waiting(), Withdrawn(by="USER:dev", reason="wrong file"))


def with_revoked_approval() -> Task:
    task = waiting(approvals=2)
    return apply_triggers(task, approval(task), ApproversChanged(revoked=(0,), reason="left"))


def intended() -> Task:
    return apply_triggers(running(), IntentRecorded(fencing_token=1, sha256=SHA256))


@pytest.mark.parametrize("status", [status for status in S if not status.is_final])
def test_check_change_from_final_status_raises(status: TaskStatus) -> None:
    with pytest.raises(InvariantError):
        check_change(withdrawn(), with_status(withdrawn(), status))


def test_check_change_with_overridden_withdrawal_raises() -> None:
    stale_task = apply_triggers(approved(), SCHEDULED)
    with pytest.raises(InvariantError, match="history"):
        check_change(apply_triggers(approved(), Withdrawn(by="USER:dev", reason="wrong file")), stale_task)


CHANGES: dict[str, tuple[Callable[[], Task], Callable[[Task], Task]]] = {
    "lower fencing token": (running, lambda task: msgspec.structs.replace(task, fencing_token=task.fencing_token - 1)),
    "status without history": (waiting, lambda task: msgspec.structs.replace(task, status=S.APPROVED)),
    "skipped status": (waiting, lambda task: with_status(task, S.SCHEDULED)),
    "restored approval": (with_revoked_approval, lambda task: msgspec.structs.replace(task, revoked_approvals=())),
    "shorter history": (approved, lambda task: msgspec.structs.replace(task, history=task.history[:-1])),
    "lost approval": (approved, lambda task: msgspec.structs.replace(task, approvals=())),
    "other contents": (waiting, lambda task: msgspec.structs.replace(task, approval_digest="00" * 32)),
    "lost intent": (intended, lambda task: msgspec.structs.replace(task, intent=None)),
    "other intent": (
        intended,
        lambda task: msgspec.structs.replace(task, intent=Intent(sha256="dd" * 32, fencing_token=1, at=NOW)),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_check_change_with_broken_invariant_raises(name: str) -> None:
    make, change = CHANGES[name]
    before = make()
    check_change(before, before)
    with pytest.raises(InvariantError, match="Nothing was stored"):
        check_change(before, change(before))


def test_check_change_requires_created_first() -> None:
    check_change(None, package())
    check_change(None, waiting())
    new_task = msgspec.structs.replace(waiting(), history=waiting().history[1:])
    with pytest.raises(InvariantError):
        check_change(None, new_task)


def test_check_key_use_of_running_task_passes() -> None:
    check_key_use(intended(), 1, SHA256)


@pytest.mark.parametrize(
    ("task", "fencing_token", "sha256"),
    [
        (intended, 2, SHA256),
        (intended, 1, "dd" * 32),
        (running, 1, SHA256),
        (scheduled, 0, SHA256),
        (lambda: apply_triggers(intended(), LeaseExpired(fencing_token=1)), 1, SHA256),
        (
            lambda: apply_triggers(
                apply_triggers(intended(), LeaseExpired(fencing_token=1)),
                lease(apply_triggers(intended(), LeaseExpired(fencing_token=1))),
            ),
            2,
            SHA256,
        ),
    ],
    ids=["other token", "other input", "no intent", "not running", "lease expired", "intent of an earlier lease"],
)
def test_check_key_use_elsewhere_raises(task: Callable[[], Task], fencing_token: int, sha256: str) -> None:
    with pytest.raises(InvariantError):
        check_key_use(task(), fencing_token, sha256)


def test_transition_error_explains_the_current_status() -> None:
    error = transition_error(withdrawn(), Cancelled)
    assert str(error) == (
        "Cannot cancel task t1: it is CANCELLED (Withdrawn by USER:dev: wrong file). Check the task's current status."
    )
