"""Uploads: each its owner's, gone on with after any break, given to tasks, and kept no longer than needed."""

from __future__ import annotations

import asyncio
import itertools
import threading
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.engine.inputs import stream_writer as pouring
from sealyard.engine.inputs.uploads import UploadService
from sealyard.model.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ServerUnreachableError,
    StorageError,
    UsageError,
)
from sealyard.model.requests import UploadStatus
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import FileArtifacts
from tests.support.engine_harness import ADMIN, DEV, OWNER, EngineHarness, sha256
from tests.support.uploads import CONTENT, ID, chunks, remaining_files, stored_inputs, upload

pytestmark = pytest.mark.anyio


async def test_an_upload_becomes_an_input_by_its_id(harness: EngineHarness) -> None:
    begun = await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT), sha256(CONTENT).upper())
    assert begun == UploadStatus(id=ID, name="firmware.bin", size=len(CONTENT))
    whole = await harness.engine.uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert whole == UploadStatus(
        id=ID,
        name="firmware.bin",
        size=len(CONTENT),
        offset=len(CONTENT),
        sha256=sha256(CONTENT),
        complete=True,
    )
    assert harness.engine.uploads.get(DEV, ID) == whole
    named = InputFile(name="firmware.bin", size=len(CONTENT), sha256=sha256(CONTENT))
    assert harness.engine.uploads.resolve(DEV, [ID, ID]) == (named, named)


async def test_an_id_is_made_up_where_none_is_chosen(harness: EngineHarness) -> None:
    first = await harness.engine.uploads.create(DEV, None, "a", 1)
    second = await harness.engine.uploads.create(DEV, None, "a", 1)
    assert first.id != second.id
    assert harness.engine.uploads.get(DEV, first.id) == first


async def test_to_another_subject_there_is_no_such_upload(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    mine = await upload(harness)
    for use in (uploads.get, lambda subject, each: uploads.resolve(subject, [each])):
        with pytest.raises(NotFoundError):
            use(OWNER, ID)
    for change in (uploads.delete(OWNER, ID), uploads.write(OWNER, ID, 0, chunks([b"x"]))):
        with pytest.raises(NotFoundError):
            await change
    await uploads.claim(OWNER, [ID])
    assert uploads.get(DEV, ID) == mine
    assert stored_inputs(harness) == [sha256(CONTENT)]


async def test_two_subjects_may_choose_the_same_id_and_the_same_content(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await upload(harness)
    await upload(harness, by=OWNER)
    await uploads.create(ADMIN, ID, "other", 3)
    await uploads.delete(OWNER, ID)
    assert stored_inputs(harness) == [sha256(CONTENT)]
    assert uploads.get(DEV, ID).complete
    assert not uploads.get(ADMIN, ID).complete
    await uploads.delete(DEV, ID)
    assert stored_inputs(harness) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.binary(max_size=3000), min_size=1, max_size=12).filter(any),
    breaks=st.sets(st.integers(1, 11)),
    batch=st.sampled_from([1, 100, 1 << 20]),
)
def test_any_cuts_and_breaks_give_the_same_content(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    pieces: list[bytes],
    breaks: set[int],
    batch: int,
) -> None:
    monkeypatch.setattr(pouring, "BATCH_BYTES", batch)
    monkeypatch.setattr(pouring, "SYNC_INTERVAL_BYTES", 1000)
    content = b"".join(pieces)

    async def story() -> None:
        harness = EngineHarness(tmp_path_factory.mktemp("cuts") / "workspace")
        await harness.create()
        await harness.open()
        uploads = harness.engine.uploads
        await uploads.create(ADMIN, ID, "firmware.bin", len(content), sha256(content))
        for begin, end in _between(breaks, len(pieces)):
            if uploads.get(ADMIN, ID).complete:
                break
            offset = uploads.get(ADMIN, ID).offset
            assert offset == len(b"".join(pieces[:begin]))
            if end == len(pieces):
                await uploads.write(ADMIN, ID, offset, chunks(pieces[begin:]))
                break
            with pytest.raises(ServerUnreachableError):
                await uploads.write(ADMIN, ID, offset, chunks(pieces[begin:end], broken=True))
        assert uploads.get(ADMIN, ID).sha256 == sha256(content)
        assert harness.artifacts.input_path(sha256(content)).read_bytes() == content
        await harness.close()

    asyncio.run(story())


def _between(breaks: set[int], last: int) -> list[tuple[int, int]]:
    places = [0, *sorted(each for each in breaks if each < last), last]
    return list(itertools.pairwise(places))


async def test_a_body_that_breaks_off_or_is_cancelled_keeps_what_came(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    with pytest.raises(ServerUnreachableError):
        await uploads.write(DEV, ID, 0, chunks([CONTENT[:1000]], broken=True))
    assert uploads.get(DEV, ID).offset == 1000

    taken = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield CONTENT[1000:2000]
        taken.set()
        await asyncio.Event().wait()

    receiving = asyncio.create_task(uploads.write(DEV, ID, 1000, stalling()))
    await taken.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert uploads.get(DEV, ID).offset == 2000
    assert (await uploads.write(DEV, ID, 2000, chunks([CONTENT[2000:]]))).sha256 == sha256(CONTENT)


async def test_a_wrong_offset_is_refused_with_the_right_one(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    await uploads.write(DEV, ID, 0, chunks([CONTENT[:500]]))
    with pytest.raises(ConflictError, match="at byte 500, not at 0"):
        await uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert uploads.get(DEV, ID).offset == 500


async def test_a_second_writer_takes_over_from_one_that_hangs(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT), sha256(CONTENT))
    hanging, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> AsyncIterator[bytes]:
        hanging.set()
        await go_on.wait()
        yield b"what comes too late"

    first = asyncio.create_task(uploads.write(DEV, ID, 0, hang()))
    await hanging.wait()
    whole = await uploads.write(DEV, ID, 0, chunks([CONTENT[:100], CONTENT[100:]]))
    assert whole.complete
    go_on.set()
    with pytest.raises(ConflictError, match="Another request"):
        await first
    assert harness.artifacts.input_path(sha256(CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
async def test_another_digest_leaves_nothing_behind(harness: EngineHarness, size: int | None) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", size, "0" * 64)
    with pytest.raises(InvalidInputError, match="SHA-256 mismatch"):
        await uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert (stored_inputs(harness), remaining_files(harness)) == ([], [])
    with pytest.raises(NotFoundError):
        uploads.get(DEV, ID)
    assert (await upload(harness)).complete


@pytest.mark.parametrize("pieces", [[CONTENT + b"x"], [CONTENT, b"x"]])
async def test_too_many_bytes_leave_nothing_behind(
    harness: EngineHarness, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pouring, "BATCH_BYTES", 1)
    await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    with pytest.raises(InvalidInputError, match="longer"):
        await harness.engine.uploads.write(DEV, ID, 0, chunks(pieces))
    assert (stored_inputs(harness), remaining_files(harness)) == ([], [])


async def test_no_bytes_leave_nothing_behind(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    with pytest.raises(InvalidInputError, match="empty"):
        await uploads.create(DEV, ID, "firmware.bin", 0)
    one_shot = await uploads.create(DEV, None, "firmware.bin", None)
    with pytest.raises(InvalidInputError, match="empty"):
        await uploads.write(DEV, one_shot.id, 0, chunks([]))
    assert (stored_inputs(harness), remaining_files(harness)) == ([], [])


@pytest.mark.parametrize(
    "odd", ["short", "a" * 65, "with/a/slash/in/it", "../../../../../etc/passwd", "dots.dots.dots.d"]
)
async def test_an_id_is_of_letters_that_go_into_a_path_anywhere(harness: EngineHarness, odd: str) -> None:
    with pytest.raises(UsageError):
        await harness.engine.uploads.create(DEV, odd, "firmware.bin", 1)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("../../a.bin", "a.bin"), ("C:\\temp\\a.bin", "a.bin"), ("", ID), ("a\udcff.bin", "a\\udcff.bin")],
)
async def test_a_name_is_kept_without_its_folders(harness: EngineHarness, given: str, kept: str) -> None:
    assert (await harness.engine.uploads.create(DEV, ID, given, 1)).name == kept


async def test_an_id_stands_for_one_file(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    begun = await uploads.create(DEV, ID, "firmware.bin", 10, "a" * 64)
    assert await uploads.create(DEV, ID, "", 10) == begun
    for size, digest in ((11, None), (10, "b" * 64)):
        with pytest.raises(ConflictError, match="a different file"):
            await uploads.create(DEV, ID, "firmware.bin", size, digest)


async def test_what_does_not_fit_on_the_disk_is_refused_at_once(harness: EngineHarness) -> None:
    with pytest.raises(StorageError, match="Not enough disk space"):
        await harness.engine.uploads.create(DEV, ID, "firmware.bin", 1 << 60)
    assert remaining_files(harness) == []
    with pytest.raises(NotFoundError):
        harness.engine.uploads.get(DEV, ID)


async def test_chunks_are_received_on_a_loop_of_their_own(harness: EngineHarness) -> None:
    """The engine's loop stands still meanwhile, and nothing hangs."""
    begun = await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    outcome: list[UploadStatus] = []

    def serve() -> None:
        outcome.append(asyncio.run(harness.engine.uploads.write(DEV, begun.id, 0, chunks([CONTENT]))))

    server = threading.Thread(target=serve)
    server.start()
    server.join(30)
    assert outcome[0].sha256 == sha256(CONTENT)


async def test_memory_does_not_grow_with_the_upload(harness: EngineHarness) -> None:
    chunk = bytes(1 << 16)
    size = 256 << 20

    async def many() -> AsyncIterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    await harness.engine.uploads.create(DEV, ID, "zeros", size)
    tracemalloc.start()
    try:
        whole = await harness.engine.uploads.write(DEV, ID, 0, many())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert whole.complete
    assert peak < 8 << 20


async def test_an_upload_that_nobody_could_adopt_is_adopted_when_asked_again(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("The disk is full.")

    uploads: UploadService = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    with monkeypatch.context() as full:
        full.setattr(FileArtifacts, "move_in", refuse)
        with pytest.raises(StorageError):
            await uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert stored_inputs(harness) == []
    await uploads.write(DEV, ID, len(CONTENT), chunks([]))
    assert stored_inputs(harness) == [sha256(CONTENT)]
