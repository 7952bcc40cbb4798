"""An engine in its own process that receives one large upload, to be killed during it.

Arguments: the workspace, its passphrase, the size of the file, and the number of bytes to send before it waits to be
killed. Prints the offset at which the upload resumes (``offset``), the bytes sent so far (``sent``), and finally the
digest (``sha256``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.inputs import stream_writer
from tests.support.key_holders import unlock

ADMIN = "USER:administrator"
ID = "interrupted-upload"
BLOCK = 1 << 16
SYNC = 4 << 20


def content(begin: int, end: int) -> bytes:
    """Return a part of the file; ``begin`` and ``end`` are multiples of eight."""
    return b"".join(number.to_bytes(8, "big") for number in range(begin // 8, end // 8))


def write_line(line_name: str, value: object) -> None:
    os.write(1, f"{line_name} {value}\n".encode())


async def iter_content(offset: int, size: int, max_bytes: int) -> AsyncIterator[bytes]:
    skipped = offset % 8
    for begin in range(offset - skipped, size, BLOCK):
        end = min(begin + BLOCK, size)
        yield content(begin, end)[skipped:]
        skipped = 0
        write_line("sent", end)
        if end >= offset + max_bytes:
            await asyncio.Event().wait()


async def main() -> None:
    stream_writer.SYNC_INTERVAL_BYTES = SYNC
    folder, passphrase, size, max_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    engine = await EngineHandle.open(folder, purpose="crash test", key_holder=unlock(passphrase), work=False)
    upload = await engine.create_upload(ADMIN, ID, "firmware.bin", size)
    write_line("offset", upload.offset)
    completed = await engine.write_upload(ADMIN, ID, upload.offset, iter_content(upload.offset, size, max_bytes))
    write_line("sha256", completed.sha256)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
