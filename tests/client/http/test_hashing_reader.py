"""A file on its way: read by a thread that never outlives who waits for it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sealyard.client.http.hashing_reader import HashingFileReader
from sealyard.fs.source_file import SourceFile

LIMIT = 30.0
TURNS = 20
"""Of the loop: more than a cancellation needs to go all its ways."""


def test_a_cancelled_reading_is_closed_only_when_no_thread_reads_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "firmware.bin"
    path.write_bytes(b"firmware")
    begun, may_end = threading.Event(), threading.Event()
    happened: list[str] = []
    read_into, close = SourceFile.read_into, SourceFile.close

    def slow_read_into(self: SourceFile, buffer: memoryview) -> int:
        begun.set()
        may_end.wait(LIMIT)
        length = read_into(self, buffer)
        happened.append("read")
        return length

    def noted_close(self: SourceFile) -> None:
        happened.append("closed")
        close(self)

    async def upload() -> None:
        reading = HashingFileReader(path, None, None)
        try:
            async for _ in reading.chunks(0):
                pass
        finally:
            reading.close()

    async def main() -> None:
        uploading = asyncio.create_task(upload())
        await asyncio.to_thread(begun.wait, LIMIT)
        for _ in range(2):
            uploading.cancel()
            for _ in range(TURNS):
                await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await uploading

    monkeypatch.setattr(SourceFile, "read_into", slow_read_into)
    monkeypatch.setattr(SourceFile, "close", noted_close)
    asyncio.run(asyncio.wait_for(main(), LIMIT))
    assert happened == ["read", "closed"]
