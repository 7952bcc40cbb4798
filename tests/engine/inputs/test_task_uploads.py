"""Uploads and the tasks they are for, and what time does to both: content is kept as long as somebody needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sealyard.engine.inputs import stream_writer as pouring
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import Task, Verdict
from tests.support.engine_harness import DEV, OWNER, EngineHarness, sha256
from tests.support.uploads import CONTENT, ID, chunks, remaining_files, stored_inputs, upload

pytestmark = pytest.mark.anyio


async def package(harness: EngineHarness, *ids: str, token: str | None = None) -> Task:
    files = harness.engine.uploads.resolve(DEV, ids)
    request = PackageRequest(config="gateway", firmware=files, client_token=token)
    task = await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))
    await harness.engine.uploads.claim(DEV, ids)
    return task


async def test_an_upload_that_is_not_complete_makes_no_task(harness: EngineHarness) -> None:
    await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    await harness.engine.uploads.write(DEV, ID, 0, chunks([CONTENT[:7]]))
    with pytest.raises(ConflictError, match="7 of 65,536"):
        harness.engine.uploads.resolve(DEV, [ID])


async def test_the_same_ids_and_token_give_the_same_task_also_after_it_ended(harness: EngineHarness) -> None:
    await upload(harness)
    task = await package(harness, ID, token="once")
    assert (await package(harness, ID, token="once")).id == task.id
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == []
    assert (await package(harness, ID, token="once")).id == task.id
    await harness.reopen()
    assert (await package(harness, ID, token="once")).id == task.id


async def test_content_of_a_task_that_ended_makes_no_other_task(harness: EngineHarness) -> None:
    await upload(harness)
    task = await package(harness, ID)
    another = await package(harness, ID)
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == [sha256(CONTENT)]
    await harness.decide(another, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == []
    with pytest.raises(InvalidInputError, match="no longer stored"):
        await package(harness, ID)


async def test_a_task_that_ends_leaves_the_same_content_of_others_alone(harness: EngineHarness) -> None:
    await upload(harness, by=OWNER)
    await upload(harness)
    for _ in range(2):
        task = await package(harness, ID)
        await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == [sha256(CONTENT)]
    await harness.engine.uploads.delete(OWNER, ID)
    assert stored_inputs(harness) == []


async def test_a_task_keeps_its_content_where_the_upload_is_dropped(harness: EngineHarness) -> None:
    await upload(harness)
    task = await package(harness, ID)
    await harness.engine.uploads.delete(DEV, ID)
    assert stored_inputs(harness) == [sha256(CONTENT)]
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(harness) == []


async def test_uploads_survive_a_restart_complete_or_not(harness: EngineHarness) -> None:
    await upload(harness)
    await harness.engine.uploads.create(DEV, "another-upload-of-mine", "half", len(CONTENT))
    await harness.engine.uploads.write(DEV, "another-upload-of-mine", 0, chunks([CONTENT[::-1][:1000]]))
    await harness.engine.uploads.create(DEV, "not-begun-to-be-sent", "none", 5)
    before = [harness.engine.uploads.get(DEV, each) for each in (ID, "another-upload-of-mine", "not-begun-to-be-sent")]
    killed = await harness.copy_as_if_killed()
    await killed.open()
    uploads = killed.engine.uploads
    assert [uploads.get(DEV, each.id) for each in before] == before
    assert stored_inputs(killed) == [sha256(CONTENT)]
    whole = await uploads.write(DEV, "another-upload-of-mine", 1000, chunks([CONTENT[::-1][1000:]]))
    assert whole.sha256 == sha256(CONTENT[::-1])
    task = await package(killed, ID, "another-upload-of-mine")
    assert [each.sha256 for each in task.inputs] == [sha256(CONTENT), sha256(CONTENT[::-1])]
    await killed.close()


async def test_claimed_content_does_not_come_back_with_a_restart(harness: EngineHarness) -> None:
    await upload(harness)
    task = await package(harness, ID)
    killed = await harness.copy_as_if_killed()
    await killed.open()
    assert stored_inputs(killed) == [sha256(CONTENT)]
    await killed.decide(task, OWNER, Verdict.REJECTED, "no")
    assert stored_inputs(killed) == []
    await killed.close()


async def test_uploads_go_after_a_day_whatever_became_of_them(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await upload(harness)
    await uploads.create(DEV, "another-upload-of-mine", "half", 10)
    await upload(harness, b"claimed", upload_id="claimed-by-a-task")
    await package(harness, "claimed-by-a-task")
    harness.clock.advance(hours=23)
    await upload(harness, b"younger", upload_id="a-younger-upload")
    await harness.advance_clock(hours=1, seconds=1)
    await harness.wait_until(lambda: len(remaining_files(harness)) == 1)
    assert stored_inputs(harness) == sorted([sha256(b"claimed"), sha256(b"younger")])
    assert uploads.get(DEV, "a-younger-upload").complete
    with pytest.raises(NotFoundError):
        uploads.get(DEV, ID)


async def test_uploads_that_are_too_old_are_not_taken_up_by_the_next_engine(harness: EngineHarness) -> None:
    await upload(harness)
    killed = await harness.copy_as_if_killed()
    killed.clock.advance(hours=24, seconds=1)
    await killed.open()
    assert (stored_inputs(killed), remaining_files(killed)) == ([], [])
    await killed.close()


async def test_a_closing_engine_makes_durable_what_came_and_takes_no_more(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pouring, "BATCH_BYTES", 1)
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield CONTENT[:1000]
        await go_on.wait()
        yield CONTENT[1000:]

    receiving = asyncio.create_task(uploads.write(DEV, ID, 0, slow()))
    await harness.wait_until(lambda: uploads.get(DEV, ID).offset == 1000)
    await harness.reopen()
    go_on.set()
    with pytest.raises(ConflictError):
        await receiving
    again = harness.engine.uploads
    assert again.get(DEV, ID).offset == 1000
    assert (await again.write(DEV, ID, 1000, chunks([CONTENT[1000:]]))).sha256 == sha256(CONTENT)
