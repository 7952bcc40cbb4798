"""Tests of the build secret of a task: durable before it is used, and deleted with the task."""

from __future__ import annotations

import pytest

from sealyard.engine.state.tables import CHECKPOINTS
from sealyard.model.errors import DiskFullError, IntegrityError, SealyardError, WorkerError
from sealyard.model.tasks import TaskStatus
from sealyard.storage.documents import TinyDocumentStore
from tests.support.engine_harness import ADMIN, DEV, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

S = TaskStatus


@pytest.mark.file_store
async def test_build_secret_is_durable_before_confirmation(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    observations: list[object] = []
    confirm_build_secret = harness.bus.confirm_build_secret

    async def record_state(task_id: str, fencing_token: int) -> None:
        observations.append(TinyDocumentStore.open_reader(harness.paths.store, {}).get(CHECKPOINTS.name, task_id))
        await confirm_build_secret(task_id, fencing_token)

    harness.bus.confirm_build_secret = record_state  # type: ignore[method-assign]
    secret = worker.create_build_secret()
    await harness.wait_until(lambda: worker.has_build_secret)
    [checkpoint] = observations
    assert checkpoint["buildSecret"]["wrapped"] == secret.wrapped  # type: ignore[index]


async def test_build_secret_is_confirmed_after_store_error(harness: EngineHarness, disk: FailingDisk) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    disk.fail()
    secret = worker.create_build_secret()
    await harness.wait_until(lambda: disk.failed_all and harness.clock.has_sleeper(1))
    assert not worker.has_build_secret
    await harness.advance_clock(seconds=1)
    await harness.wait_until(lambda: worker.has_build_secret)
    checkpoint = harness.engine.repository.get(CHECKPOINTS, worker.id)
    assert checkpoint is not None
    assert checkpoint.build_secret == secret


async def test_build_secret_with_old_fencing_token_is_ignored(harness: EngineHarness) -> None:
    old_worker = await harness.wait_for_worker(await harness.encryption())
    old_worker.crash()
    await harness.wait_until(lambda: harness.task(old_worker.id).lease_losses == 1)
    worker = await harness.wait_for_worker(old_worker.id)
    secret = worker.create_build_secret()
    old_worker.create_build_secret()
    await harness.wait_until(lambda: worker.has_build_secret)
    worker.crash()
    await harness.wait_until(lambda: harness.task(old_worker.id).lease_losses == 2)
    checkpoint = harness.engine.repository.get(CHECKPOINTS, old_worker.id)
    assert checkpoint is not None
    assert checkpoint.build_secret == secret
    assert not old_worker.has_build_secret


async def test_new_build_secret_replaces_earlier_progress(harness: EngineHarness) -> None:
    """An earlier version has recorded a segment without a build secret."""
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    worker.encrypt_segment(0)
    secret = worker.create_build_secret()
    await harness.wait_until(lambda: worker.has_build_secret)
    segment = worker.encrypt_segment(1)
    worker.crash()
    await harness.wait_until(lambda: harness.task(worker.id).lease_losses == 1)
    second_worker = await harness.wait_for_worker(worker.id)
    checkpoint = second_worker.job.checkpoint
    assert (checkpoint.build_secret, checkpoint.segments) == (secret, (segment,))


@pytest.mark.parametrize(
    "error", [IntegrityError("Changed."), WorkerError("Another version.")], ids=lambda error: error.code
)
async def test_task_with_unusable_build_never_runs_again(harness: EngineHarness, error: SealyardError) -> None:
    """Its build secret would be used for other bytes."""
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.create_build_secret()
    worker.fail(error)
    final_task = await harness.wait_until_final(worker.id)
    assert (final_task.status, final_task.reason_code) == (S.FAILED, error.code)
    assert harness.engine.repository.get(CHECKPOINTS, worker.id) is None
    await harness.reopen()
    await harness.engine.scheduler.wait_idle()
    assert harness.task(worker.id).status is S.FAILED
    assert harness.bus.jobs == {}


@pytest.mark.parametrize("end", ["cancelled", "expired", "permission revoked"])
async def test_build_secret_of_waiting_task_is_deleted_with_it(harness: EngineHarness, end: str) -> None:
    """The task has no worker at that time: it waits for disk space."""
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    worker.create_build_secret()
    worker.fail(DiskFullError("The disk is full."))
    await harness.wait_for_status(task, S.SCHEDULED)
    assert harness.engine.repository.get(CHECKPOINTS, task.id) is not None
    match end:
        case "cancelled":
            await harness.cancel(task)
        case "expired":
            await harness.advance_clock(days=60)
        case _:
            for rule in harness.engine.access.access(ADMIN).rules:
                if rule.subject == DEV:
                    await harness.execute(ADMIN, harness.engine.access.remove_rule(ADMIN, rule.id, confirmed=True))
            await harness.advance_clock(seconds=3)
    assert (await harness.wait_until_final(task)).result is None
    assert harness.engine.repository.get(CHECKPOINTS, task.id) is None
