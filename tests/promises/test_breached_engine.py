"""Attacks of an engine that speaks the worker's protocol and lies. Each test is named after its attack.

The key holder and the worker are real processes. Attacks that approvals signed by the approver must stop are not here:
forged approvals (f1, f2, f3), planted rules and tokens, ``RotateKey`` (f13).
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from sealyard.audit.merkle import consistency_proof, leaf_hash, merkle_root
from sealyard.model.approval import approval_digest
from sealyard.model.errors import AuditVerificationError, ConflictError
from sealyard.model.key_commands import GetSignedCheckpoint, SignCheckpoint
from sealyard.model.worker_messages import Job, JobFailed, JobFinished
from tests.support.bus_driver import BusDriver, drive_bus, run_within
from tests.support.worker_harness import APPROVER, WorkerWorkspace, with_approvals

LEAVES = [leaf_hash(bytes([number])) for number in range(20)]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    run_within(scenario)


def lie(job: Job, other: Job, *, token: int) -> Job:
    """Return the job of ``other`` under the id of the task of ``job``, with an approval forged for it."""
    task = msgspec.structs.replace(other.task, id=job.task.id, fencing_token=token, intent=None)
    forged = msgspec.structs.replace(task, approval_digest=approval_digest(task))
    checkpoint = msgspec.structs.replace(other.checkpoint, task_id=job.task.id)
    return with_approvals(msgspec.structs.replace(other, task=forged, checkpoint=checkpoint), APPROVER)


async def run_job(bus: BusDriver, job: Job) -> JobFinished | JobFailed:
    await bus.start_job(job)
    end = await bus.wait_for_end()
    assert isinstance(end, JobFinished | JobFailed)
    return end


def require_conflict(end: JobFinished | JobFailed) -> None:
    assert isinstance(end, JobFailed)
    assert end.error.code == ConflictError.code
    assert "Nothing was signed" in end.error.message
    assert end.error.hint


def test_f8_one_task_with_two_signed_inputs(workspace: WorkerWorkspace) -> None:
    """The engine claims that the task has no intent yet."""

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"approved")
            assert isinstance(await run_job(bus, job), JobFinished)
            for token in (1, 2, 9):
                require_conflict(await run_job(bus, lie(job, workspace.signing(b"another"), token=token)))
                assert len(workspace.intents) == 1

    run(scenario())


def test_f8_after_restart_of_all_processes(workspace: WorkerWorkspace) -> None:
    job = workspace.signing(b"approved")

    async def sign() -> None:
        async with drive_bus(workspace) as bus:
            assert isinstance(await run_job(bus, job), JobFinished)

    async def attack() -> None:
        async with drive_bus(workspace) as bus:
            require_conflict(await run_job(bus, lie(job, workspace.signing(b"another"), token=2)))

    run(sign())
    run(attack())


def test_f9_old_job_is_sent_again(workspace: WorkerWorkspace) -> None:
    """Promise 32: a replayed request of a worker has no effect."""

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"approved")
            assert isinstance(await run_job(bus, job), JobFinished)
            require_conflict(await run_job(bus, job))
            assert len(workspace.intents) == 1

    run(scenario())


def test_f9_package_is_sent_again(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.package(b"firmware")
            assert isinstance(await run_job(bus, job), JobFinished)
            require_conflict(await run_job(bus, job))
            later = msgspec.structs.replace(job, task=msgspec.structs.replace(job.task, fencing_token=2))
            require_conflict(await run_job(bus, later))

    run(scenario())


def request_of(size: int, old_size: int) -> SignCheckpoint:
    proof = consistency_proof(LEAVES[:size], old_size) if old_size else []
    return SignCheckpoint(size=size, root=merkle_root(LEAVES[:size]).hex(), proof=tuple(each.hex() for each in proof))


ATTACKS = {
    "two roots": SignCheckpoint(size=8, root="00" * 32),
    "no proof": SignCheckpoint(size=20, root="00" * 32),
    "old proof": request_of(20, 3),
    "wrong root": SignCheckpoint(size=20, root="00" * 32, proof=request_of(20, 8).proof),
    "backwards": request_of(3, 0),
    "empty": SignCheckpoint(size=0, root=merkle_root([]).hex()),
    "negative": SignCheckpoint(size=-1, root="00" * 32),
}


def test_f12_checkpoint_of_another_log(workspace: WorkerWorkspace) -> None:
    async def attack(bus: BusDriver, name: str) -> None:
        with pytest.raises(AuditVerificationError) as caught:
            await bus.bus.request(ATTACKS[name])
        assert caught.value.hint or "empty" in caught.value.message, name
        state = (await bus.bus.request(GetSignedCheckpoint())).state
        assert state is not None
        assert state.size == 8, name

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            for request in (request_of(3, 0), request_of(8, 3), request_of(8, 8)):
                assert (await bus.bus.request(request)).text
            for name in ATTACKS:
                await attack(bus, name)
            assert (await bus.bus.request(request_of(9, 8))).text, "the honest engine is refused"

    run(scenario())
