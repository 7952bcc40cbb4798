"""Tests of uploads that tasks use, and of their expiry: content is kept until no task or upload needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sealyard.engine.inputs import stream_writer
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import Task, Verdict
from tests.support.engine_harness import DEV, OWNER, EngineHarness, sha256
from tests.support.uploads import CONTENT, ID, chunks, remaining_files, stored_inputs, upload

pytestmark = pytest.mark.anyio


async def create_package(harness: EngineHarness, *ids: str, token: str | None = None) -> Task:
    files = harness.engine.uploads.resolve(DEV, ids)
    request = PackageRequest(config="gateway", firmware=files, client_token=token)
    task = await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))
    await harness.engine.uploads.claim(DEV, ids)
    return task


async def test_incomplete_upload_cannot_be_resolved(harness: EngineHarness) -> None:
    await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    await harness.engine.uploads.write(DEV, ID, 0, chunks([CONTENT[:7]]))
    with pytest.raises(ConflictError, match="7 bytes of 65,536 received"):
        harness.engine.uploads.resolve(DEV, [ID])


async def test_client_token_returns_task_after_input_removal(harness: EngineHarness) -> None:
    await upload(harness)
    task = await create_package(harness, ID, token="once")
    assert (await create_package(harness, ID, token="once")).id == task.id
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == []
    assert (await create_package(harness, ID, token="once")).id == task.id
    await harness.reopen()
    assert (await create_package(harness, ID, token="once")).id == task.id


async def test_removed_upload_content_is_rejected(harness: EngineHarness) -> None:
    await upload(harness)
    task = await create_package(harness, ID)
    other_task = await create_package(harness, ID)
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == [sha256(CONTENT)]
    await harness.decide(other_task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == []
    with pytest.raises(InvalidInputError, match="no longer stored"):
        await create_package(harness, ID)


async def test_final_task_keeps_content_of_other_uploads(harness: EngineHarness) -> None:
    await upload(harness, by=OWNER)
    await upload(harness)
    for _ in range(2):
        task = await create_package(harness, ID)
        await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == [sha256(CONTENT)]
    await harness.engine.uploads.delete(OWNER, ID)
    assert stored_inputs(harness) == []


async def test_deleted_upload_keeps_content_for_task(harness: EngineHarness) -> None:
    await upload(harness)
    task = await create_package(harness, ID)
    await harness.engine.uploads.delete(DEV, ID)
    assert stored_inputs(harness) == [sha256(CONTENT)]
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == []


async def test_uploads_survive_restart(harness: EngineHarness) -> None:
    await upload(harness)
    await harness.engine.uploads.create(DEV, "another-upload-of-mine", "half", len(CONTENT))
    await harness.engine.uploads.write(DEV, "another-upload-of-mine", 0, chunks([CONTENT[::-1][:1000]]))
    await harness.engine.uploads.create(DEV, "not-begun-to-be-sent", "none", 5)
    statuses = [
        harness.engine.uploads.get(DEV, each) for each in (ID, "another-upload-of-mine", "not-begun-to-be-sent")
    ]
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    uploads = crash_copy.engine.uploads
    assert [uploads.get(DEV, each.id) for each in statuses] == statuses
    assert stored_inputs(crash_copy) == [sha256(CONTENT)]
    status = await uploads.write(DEV, "another-upload-of-mine", 1000, chunks([CONTENT[::-1][1000:]]))
    assert status.sha256 == sha256(CONTENT[::-1])
    task = await create_package(crash_copy, ID, "another-upload-of-mine")
    assert [each.sha256 for each in task.inputs] == [sha256(CONTENT), sha256(CONTENT[::-1])]
    await crash_copy.close()


async def test_claimed_upload_stays_claimed_after_restart(harness: EngineHarness) -> None:
    await upload(harness)
    task = await create_package(harness, ID)
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert stored_inputs(crash_copy) == [sha256(CONTENT)]
    await crash_copy.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(crash_copy) == []
    await crash_copy.close()


async def test_uploads_expire_after_a_day(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await upload(harness)
    await uploads.create(DEV, "another-upload-of-mine", "half", 10)
    await upload(harness, b"claimed", upload_id="claimed-by-a-task")
    await create_package(harness, "claimed-by-a-task")
    harness.clock.advance(hours=23)
    await upload(harness, b"younger", upload_id="a-younger-upload")
    await harness.advance_clock(hours=1, seconds=1)
    await harness.wait_until(lambda: len(remaining_files(harness)) == 1)
    assert stored_inputs(harness) == sorted([sha256(b"claimed"), sha256(b"younger")])
    assert uploads.get(DEV, "a-younger-upload").complete
    with pytest.raises(NotFoundError):
        uploads.get(DEV, ID)


async def test_expired_uploads_are_removed_at_start(harness: EngineHarness) -> None:
    await upload(harness)
    crash_copy = await harness.copy_as_if_killed()
    crash_copy.clock.advance(hours=24, seconds=1)
    await crash_copy.open()
    assert (stored_inputs(crash_copy), remaining_files(crash_copy)) == ([], [])
    await crash_copy.close()


async def test_close_keeps_received_bytes_and_rejects_more(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_writer, "BATCH_BYTES", 1)
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    release = asyncio.Event()

    async def stream_slowly() -> AsyncIterator[bytes]:
        yield CONTENT[:1000]
        await release.wait()
        yield CONTENT[1000:]

    write = asyncio.create_task(uploads.write(DEV, ID, 0, stream_slowly()))
    await harness.wait_until(lambda: uploads.get(DEV, ID).offset == 1000)
    await harness.reopen()
    release.set()
    with pytest.raises(ConflictError):
        await write
    reopened_uploads = harness.engine.uploads
    assert reopened_uploads.get(DEV, ID).offset == 1000
    assert (await reopened_uploads.write(DEV, ID, 1000, chunks([CONTENT[1000:]]))).sha256 == sha256(CONTENT)
