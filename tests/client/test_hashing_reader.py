"""Test the reader of uploads: a cancelled upload waits for the thread that reads the file."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sealyard.client.hashing_reader import HashingFileReader
from sealyard.fs.source_file import SourceFile
from tests.support.limits import TIMEOUT

LOOP_ITERATIONS = 20
"""More iterations of the event loop than a cancellation needs to propagate."""


def test_cancelled_read_closes_file_after_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "firmware.bin"
    path.write_bytes(b"firmware")
    started, release = threading.Event(), threading.Event()
    calls: list[str] = []
    read_into, close = SourceFile.read_into, SourceFile.close

    def read_slowly(self: SourceFile, buffer: memoryview) -> int:
        started.set()
        release.wait(TIMEOUT)
        length = read_into(self, buffer)
        calls.append("read")
        return length

    def record_close(self: SourceFile) -> None:
        calls.append("closed")
        close(self)

    async def upload() -> None:
        reader = HashingFileReader(path, None, None)
        try:
            async for _ in reader.chunks(0):
                pass
        finally:
            reader.close()

    async def main() -> None:
        call = asyncio.create_task(upload())
        await asyncio.to_thread(started.wait, TIMEOUT)
        for _ in range(2):
            call.cancel()
            for _ in range(LOOP_ITERATIONS):
                await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await call

    monkeypatch.setattr(SourceFile, "read_into", read_slowly)
    monkeypatch.setattr(SourceFile, "close", record_close)
    asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert calls == ["read", "closed"]
