"""Tests of uploads: ownership, resumption, integrity checks and cleanup."""

from __future__ import annotations

import asyncio
import itertools
import threading
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.engine.inputs import stream_writer
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
from tests.support.extent import choose_count, scale_examples
from tests.support.limits import TIMEOUT
from tests.support.uploads import CONTENT, ID, chunks, remaining_files, stored_inputs, upload

pytestmark = pytest.mark.anyio


async def test_complete_upload_resolves_to_input(harness: EngineHarness) -> None:
    created = await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT), sha256(CONTENT).upper())
    assert created == UploadStatus(id=ID, name="firmware.bin", size=len(CONTENT))
    status = await harness.engine.uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert status == UploadStatus(
        id=ID,
        name="firmware.bin",
        size=len(CONTENT),
        offset=len(CONTENT),
        sha256=sha256(CONTENT),
        complete=True,
    )
    assert harness.engine.uploads.get(DEV, ID) == status
    expected_input = InputFile(name="firmware.bin", size=len(CONTENT), sha256=sha256(CONTENT))
    assert harness.engine.uploads.resolve(DEV, [ID, ID]) == (expected_input, expected_input)


async def test_create_without_id_generates_id(harness: EngineHarness) -> None:
    first = await harness.engine.uploads.create(DEV, None, "a", 1)
    second = await harness.engine.uploads.create(DEV, None, "a", 1)
    assert first.id != second.id
    assert harness.engine.uploads.get(DEV, first.id) == first


async def test_upload_of_other_subject_is_hidden(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    status = await upload(harness)
    for read in (uploads.get, lambda subject, each: uploads.resolve(subject, [each])):
        with pytest.raises(NotFoundError):
            read(OWNER, ID)
    for call in (uploads.delete(OWNER, ID), uploads.write(OWNER, ID, 0, chunks([b"x"]))):
        with pytest.raises(NotFoundError):
            await call
    await uploads.claim(OWNER, [ID])
    assert uploads.get(DEV, ID) == status
    assert stored_inputs(harness) == [sha256(CONTENT)]


async def test_same_id_of_two_subjects_is_independent(harness: EngineHarness) -> None:
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


@settings(max_examples=scale_examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.binary(max_size=3000), min_size=1, max_size=12).filter(any),
    breaks=st.sets(st.integers(1, 11)),
    batch=st.sampled_from([1, 100, 1 << 20]),
)
def test_interrupted_chunks_give_same_content(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    pieces: list[bytes],
    breaks: set[int],
    batch: int,
) -> None:
    monkeypatch.setattr(stream_writer, "BATCH_BYTES", batch)
    monkeypatch.setattr(stream_writer, "SYNC_INTERVAL_BYTES", 1000)
    content = b"".join(pieces)

    async def run_upload() -> None:
        harness = EngineHarness(tmp_path_factory.mktemp("cuts") / "workspace")
        await harness.create()
        await harness.open()
        uploads = harness.engine.uploads
        await uploads.create(ADMIN, ID, "firmware.bin", len(content), sha256(content))
        for start, end in _write_ranges(breaks, len(pieces)):
            if uploads.get(ADMIN, ID).complete:
                break
            offset = uploads.get(ADMIN, ID).offset
            assert offset == len(b"".join(pieces[:start]))
            if end == len(pieces):
                await uploads.write(ADMIN, ID, offset, chunks(pieces[start:]))
                break
            with pytest.raises(ServerUnreachableError):
                await uploads.write(ADMIN, ID, offset, chunks(pieces[start:end], broken=True))
        assert uploads.get(ADMIN, ID).sha256 == sha256(content)
        assert harness.artifacts.input_path(sha256(content)).read_bytes() == content
        await harness.close()

    asyncio.run(run_upload())


def _write_ranges(breaks: set[int], last: int) -> list[tuple[int, int]]:
    positions = [0, *sorted(each for each in breaks if each < last), last]
    return list(itertools.pairwise(positions))


async def test_interrupted_write_keeps_received_bytes(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    with pytest.raises(ServerUnreachableError):
        await uploads.write(DEV, ID, 0, chunks([CONTENT[:1000]], broken=True))
    assert uploads.get(DEV, ID).offset == 1000

    received = asyncio.Event()

    async def stream_and_stall() -> AsyncIterator[bytes]:
        yield CONTENT[1000:2000]
        received.set()
        await asyncio.Event().wait()

    write = asyncio.create_task(uploads.write(DEV, ID, 1000, stream_and_stall()))
    await received.wait()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert uploads.get(DEV, ID).offset == 2000
    assert (await uploads.write(DEV, ID, 2000, chunks([CONTENT[2000:]]))).sha256 == sha256(CONTENT)


async def test_wrong_offset_returns_expected_offset(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    await uploads.write(DEV, ID, 0, chunks([CONTENT[:500]]))
    with pytest.raises(ConflictError, match="at byte 500, not at 0"):
        await uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert uploads.get(DEV, ID).offset == 500


async def test_second_writer_replaces_hanging_writer(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT), sha256(CONTENT))
    started, release = asyncio.Event(), asyncio.Event()

    async def hang() -> AsyncIterator[bytes]:
        started.set()
        await release.wait()
        yield b"late bytes"

    first_write = asyncio.create_task(uploads.write(DEV, ID, 0, hang()))
    await started.wait()
    status = await uploads.write(DEV, ID, 0, chunks([CONTENT[:100], CONTENT[100:]]))
    assert status.complete
    release.set()
    with pytest.raises(ConflictError, match="Another request"):
        await first_write
    assert harness.artifacts.input_path(sha256(CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
async def test_hash_mismatch_removes_upload(harness: EngineHarness, size: int | None) -> None:
    uploads = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", size, "0" * 64)
    with pytest.raises(InvalidInputError, match="SHA-256 mismatch"):
        await uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert (stored_inputs(harness), remaining_files(harness)) == ([], [])
    with pytest.raises(NotFoundError):
        uploads.get(DEV, ID)
    assert (await upload(harness)).complete


@pytest.mark.parametrize("pieces", [[CONTENT + b"x"], [CONTENT, b"x"]])
async def test_excess_bytes_remove_upload(
    harness: EngineHarness, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_writer, "BATCH_BYTES", 1)
    await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    with pytest.raises(InvalidInputError, match="longer"):
        await harness.engine.uploads.write(DEV, ID, 0, chunks(pieces))
    assert (stored_inputs(harness), remaining_files(harness)) == ([], [])


async def test_empty_upload_is_rejected(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    with pytest.raises(InvalidInputError, match="empty"):
        await uploads.create(DEV, ID, "firmware.bin", 0)
    one_shot = await uploads.create(DEV, None, "firmware.bin", None)
    with pytest.raises(InvalidInputError, match="empty"):
        await uploads.write(DEV, one_shot.id, 0, chunks([]))
    assert (stored_inputs(harness), remaining_files(harness)) == ([], [])


@pytest.mark.parametrize(
    "upload_id", ["short", "a" * 65, "with/a/slash/in/it", "../../../../../etc/passwd", "dots.dots.dots.d"]
)
async def test_invalid_id_is_rejected(harness: EngineHarness, upload_id: str) -> None:
    with pytest.raises(UsageError):
        await harness.engine.uploads.create(DEV, upload_id, "firmware.bin", 1)


@pytest.mark.parametrize(
    ("name", "stored_name"),
    [("../../a.bin", "a.bin"), ("C:\\temp\\a.bin", "a.bin"), ("", ID), ("a\udcff.bin", "a\\udcff.bin")],
)
async def test_name_is_stored_without_folders(harness: EngineHarness, name: str, stored_name: str) -> None:
    assert (await harness.engine.uploads.create(DEV, ID, name, 1)).name == stored_name


async def test_id_with_other_file_conflicts(harness: EngineHarness) -> None:
    uploads = harness.engine.uploads
    status = await uploads.create(DEV, ID, "firmware.bin", 10, "a" * 64)
    assert await uploads.create(DEV, ID, "", 10) == status
    for size, digest in ((11, None), (10, "b" * 64)):
        with pytest.raises(ConflictError, match="a different file"):
            await uploads.create(DEV, ID, "firmware.bin", size, digest)


async def test_upload_larger_than_disk_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(StorageError, match="Not enough disk space"):
        await harness.engine.uploads.create(DEV, ID, "firmware.bin", 1 << 60)
    assert remaining_files(harness) == []
    with pytest.raises(NotFoundError):
        harness.engine.uploads.get(DEV, ID)


async def test_write_runs_on_another_event_loop(harness: EngineHarness) -> None:
    """The write completes although the engine's event loop is blocked meanwhile."""
    status = await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    results: list[UploadStatus] = []

    def write() -> None:
        results.append(asyncio.run(harness.engine.uploads.write(DEV, status.id, 0, chunks([CONTENT]))))

    server = threading.Thread(target=write)
    server.start()
    server.join(TIMEOUT)
    assert results[0].sha256 == sha256(CONTENT)


async def test_write_uses_constant_memory(harness: EngineHarness) -> None:
    chunk = bytes(1 << 16)
    size = choose_count(share=64, full=256) << 20

    async def stream_zeros() -> AsyncIterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    await harness.engine.uploads.create(DEV, ID, "zeros", size)
    tracemalloc.start()
    try:
        status = await harness.engine.uploads.write(DEV, ID, 0, stream_zeros())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status.complete
    assert peak < 8 << 20


async def test_failed_move_is_retried_by_next_write(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("The disk is full.")

    uploads: UploadService = harness.engine.uploads
    await uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    with monkeypatch.context() as context:
        context.setattr(FileArtifacts, "move_in", fail)
        with pytest.raises(StorageError):
            await uploads.write(DEV, ID, 0, chunks([CONTENT]))
    assert stored_inputs(harness) == []
    await uploads.write(DEV, ID, len(CONTENT), chunks([]))
    assert stored_inputs(harness) == [sha256(CONTENT)]
