"""Factories of tasks, decisions and triggers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.approval import approval_digest
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.lifecycle import advance
from sealyard.model.tasks import (
    Decision,
    InputFile,
    StatusChange,
    Subtask,
    Task,
    TaskKind,
    TaskStatus,
    Verdict,
)
from sealyard.model.triggers import DecisionMade, Leased, Scheduled, Submitted, Trigger

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)

SUBMITTED = Submitted(approval_expires_at=LATER, execution_expires_at=LATER)
SCHEDULED = Scheduled(execution_expires_at=LATER)


def file(name: str = "a.bin", size: int = 3, sha256: str = "aa" * 32) -> InputFile:
    return InputFile(name=name, size=size, sha256=sha256)


def package(*, approvals: int = 1, self_approved: bool = False, by: str = "USER:dev", files: int = 2) -> Task:
    """Create a packaging task with status CREATED."""
    task = Task(
        id="t1",
        kind=TaskKind.PACKAGING,
        status=TaskStatus.CREATED,
        name="release 1",
        config_id="c1",
        config_name="gateway",
        config_version=4,
        created_by=by,
        created_at=NOW,
        updated_at=NOW,
        inputs=tuple(file(f"{number}.bin") for number in range(files)),
        metadata=(file("notes.txt"), file("version.txt")),
        content_type="firmware",
        format="se-1",
        encryption_key=EncryptionKey(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD, uri="local:e", version=1),
        signing_key=SigningKey(algorithm=SigningAlgorithm.ED25519, uri="local:s", version=2),
        approvals_required=approvals,
        self_approved=self_approved,
        subtasks=(
            *(
                Subtask(id=f"t1.{number + 1}", kind=TaskKind.ENCRYPTION, status=TaskStatus.CREATED, name="x")
                for number in range(files)
            ),
            Subtask(id=f"t1.{files + 1}", kind=TaskKind.SIGNING, status=TaskStatus.WAITING, name="header"),
        ),
        history=(StatusChange(status=TaskStatus.CREATED, at=NOW),),
    )
    return msgspec.structs.replace(task, approval_digest=approval_digest(task))


def decision(task: Task, by: str = "USER:owner", verdict: Verdict = Verdict.APPROVED, digest: str = "") -> Decision:
    return Decision(by=by, verdict=verdict, at=NOW, digest=digest or task.approval_digest, reason="because")


def approval(task: Task, by: str = "USER:owner") -> DecisionMade:
    return DecisionMade(decision=decision(task, by))


def rejection(task: Task, by: str = "USER:owner") -> DecisionMade:
    return DecisionMade(decision=decision(task, by, Verdict.REJECTED))


def lease(task: Task) -> Leased:
    return Leased(worker="worker-1", fencing_token=task.fencing_token + 1, time_limit_at=LATER)


def apply_triggers(task: Task, *triggers: Trigger) -> Task:
    for trigger in triggers:
        task = advance(task, trigger, NOW)
    return task


def waiting(**options: object) -> Task:
    return apply_triggers(package(**options), SUBMITTED)  # type: ignore[arg-type]


def approved() -> Task:
    task = waiting()
    return apply_triggers(task, approval(task))


def scheduled() -> Task:
    return apply_triggers(approved(), SCHEDULED)


def running() -> Task:
    task = scheduled()
    return apply_triggers(task, lease(task))
