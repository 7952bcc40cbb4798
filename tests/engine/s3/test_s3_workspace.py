"""Tests of an engine whose inputs and results are in a bucket, also while the bucket cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from sealyard.engine.inputs.store import InputStore
from sealyard.model.errors import ArtifactStoreError, ConflictError, InputMismatchError
from sealyard.model.tasks import Task, TaskStatus
from sealyard.storage.artifacts import ResultId
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.engine_harness import DEV, sha256
from tests.support.s3_harness import S3Harness
from tests.support.store_helpers import publish_result

pytestmark = pytest.mark.anyio

CONTENT = b"firmware 0"
SHA256 = sha256(CONTENT)
KEY = f"inputs/{SHA256[:2]}/{SHA256}"
UPLOAD_ID = "an-upload-of-mine"


async def download(harness: S3Harness, task: Task, offset: int = 0) -> bytes:
    chunks = harness.engine.delivery.download(DEV, task.id, offset)
    return b"".join([chunk async for chunk in harness.engine.stream(DEV, "TEST", chunks)])


async def advance_retry(harness: S3Harness) -> None:
    """Let the next retry of a request to the bucket begin."""
    await harness.wait_until(lambda: harness.clock.has_sleeper(10))
    harness.clock.advance(seconds=10)


async def test_package_is_stored_in_bucket(harness: S3Harness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    assert harness.bucket.keys() == [KEY]
    assert harness.artifacts.input_path(SHA256).read_bytes() == CONTENT
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish(b"a container")
    task = await harness.wait_until_final(worker.id)
    assert task.status is TaskStatus.DONE
    assert await download(harness, task) == b"a container"
    assert await download(harness, task, 2) == b"container"
    await harness.close()
    assert harness.bucket.keys() == [f"results/{task.id}/1"]
    assert [path for path in harness.paths.artifacts.rglob("*") if path.is_file()] == []


async def test_task_with_missing_input_is_rejected(harness: S3Harness) -> None:
    file = await harness.upload(CONTENT)
    await harness.execute(DEV, _as_awaitable(lambda: harness.engine.inputs.discard([file])))
    with pytest.raises(InputMismatchError, match="no longer stored"):
        await harness.package(firmware=(file,))


async def _as_awaitable(work: object) -> None:
    assert callable(work)
    work()


async def test_unrecorded_result_is_removed_at_start(harness: S3Harness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.output_path("container").write_bytes(b"a container")
    publish_result(harness.bucket.open(harness.paths.artifacts), worker.id, worker.output_path("container"))
    await harness.reopen()
    next_worker = await harness.wait_for_worker(worker.id)
    assert harness.bucket.keys() == [KEY]
    assert next_worker.output_path("container").read_bytes() == b"a container"
    assert next_worker.fencing_token == 2
    assert harness.artifacts.input_path(SHA256).read_bytes() == CONTENT
    next_worker.request_signing()
    await harness.wait_until(lambda: next_worker.permitted)
    next_worker.finish(b"a container")
    task = await harness.wait_until_final(worker.id)
    assert await download(harness, task) == b"a container"
    await harness.close()
    assert harness.bucket.keys() == [f"results/{task.id}/2"]


async def test_stale_engine_replaces_no_result(harness: S3Harness) -> None:
    task = await harness.done_package(b"a container")
    stale_store = harness.bucket.open(harness.paths.artifacts)
    work_file = stale_store.work_dir(task.id) / "container"
    work_file.write_bytes(b"of a stale engine")
    stale_result = ResultId(task.id, task.fencing_token - 1)
    stale_store.publish_result(stale_result, work_file, sha256(b"of a stale engine"), lambda _: None)
    assert await download(harness, task) == b"a container"


async def test_result_waits_for_unreachable_bucket(harness: S3Harness, proxy: CuttableProxy) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    proxy.cut()
    worker.finish(b"a container")
    await harness.wait_until(lambda: harness.clock.has_sleeper(10))
    assert harness.task(worker.id).status is TaskStatus.RUNNING
    proxy.restore()
    await advance_retry(harness)
    task = await harness.wait_for_status(worker.id, TaskStatus.DONE)
    assert await download(harness, task) == b"a container"


async def test_inputs_wait_for_unreachable_bucket(harness: S3Harness, proxy: CuttableProxy) -> None:
    task = await harness.package()
    proxy.cut()
    await harness.approve(task)
    await harness.wait_until(lambda: harness.clock.has_sleeper(10))
    assert (harness.task(task.id).status, harness.bus.jobs) == (TaskStatus.RUNNING, {})
    proxy.restore()
    await advance_retry(harness)
    worker = await harness.wait_for_worker(task)
    assert harness.artifacts.input_path(SHA256).read_bytes() == CONTENT
    assert worker.fencing_token == 1


async def test_task_that_waits_for_bucket_can_be_cancelled(harness: S3Harness, proxy: CuttableProxy) -> None:
    task = await harness.package()
    proxy.cut()
    await harness.approve(task)
    await harness.wait_until(lambda: harness.clock.has_sleeper(10))
    cancellation = asyncio.create_task(harness.cancel(task))
    await advance_retry(harness)
    assert (await cancellation).status is TaskStatus.CANCELLED
    assert harness.bus.jobs == {}


async def test_upload_is_complete_once_it_is_stored(harness: S3Harness, proxy: CuttableProxy) -> None:
    async def send(content: bytes) -> AsyncIterator[bytes]:
        yield content

    uploads = harness.engine.uploads
    await uploads.create(DEV, UPLOAD_ID, "firmware.bin", len(CONTENT))
    proxy.cut()
    with pytest.raises(ArtifactStoreError):
        await uploads.write(DEV, UPLOAD_ID, 0, send(CONTENT))
    status = uploads.get(DEV, UPLOAD_ID)
    assert (status.offset, status.complete, status.sha256) == (len(CONTENT), False, None)
    with pytest.raises(ConflictError, match="could not be stored yet"):
        uploads.resolve(DEV, [UPLOAD_ID])
    proxy.restore()
    status = await uploads.write(DEV, UPLOAD_ID, len(CONTENT), send(b""))
    assert (status.complete, status.sha256) == (True, SHA256)
    assert harness.bucket.keys() == [KEY]
    assert (await harness.package(firmware=uploads.resolve(DEV, [UPLOAD_ID]))).status is TaskStatus.WAITING


async def test_complete_upload_is_stored_after_restart(harness: S3Harness, proxy: CuttableProxy) -> None:
    async def send(content: bytes) -> AsyncIterator[bytes]:
        yield content

    await harness.engine.uploads.create(DEV, UPLOAD_ID, "firmware.bin", len(CONTENT))
    proxy.cut()
    with pytest.raises(ArtifactStoreError):
        await harness.engine.uploads.write(DEV, UPLOAD_ID, 0, send(CONTENT))
    proxy.restore()
    await harness.reopen()
    assert harness.engine.uploads.get(DEV, UPLOAD_ID).complete
    assert harness.bucket.keys() == [KEY]


async def test_event_loop_does_not_wait_for_deletions(harness: S3Harness, proxy: CuttableProxy) -> None:
    file = await harness.upload(CONTENT)
    proxy.cut()
    harness.engine.inputs.discard([file])
    with pytest.raises(InputMismatchError):
        harness.engine.inputs.require([file])
    proxy.restore()


async def test_unreferenced_inputs_are_kept_for_a_day(harness: S3Harness) -> None:
    await asyncio.to_thread(harness.store.ingest_bytes, CONTENT)
    inputs = InputStore(harness.store, harness.clock)
    harness.clock.advance(seconds=(datetime.now(UTC) - harness.clock.now()).total_seconds())
    inputs.remove_unreferenced(harness.store.stored_inputs())
    assert list(harness.store.stored_inputs()) == [SHA256]
    harness.clock.advance(hours=timedelta(hours=25) / timedelta(hours=1))
    inputs.sweep()
    assert list(harness.store.stored_inputs()) == []


async def test_workspace_is_not_ready_without_bucket(harness: S3Harness, proxy: CuttableProxy) -> None:
    health = await harness.engine.health.health()
    assert [check.passed for check in health.checks if check.name == "artifacts"] == [True]
    proxy.cut()
    harness.clock.advance(minutes=2)
    health = await harness.engine.health.health()
    (failure,) = [check for check in health.failures if check.name == "artifacts"]
    assert "is not reachable" in failure.detail
