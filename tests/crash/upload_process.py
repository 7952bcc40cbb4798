"""An engine in a process of its own that receives one large upload, to be killed in the middle of it.

Arguments: the workspace, its passphrase, how many bytes the file has, and how many are handed in before it waits
for its death. Says where the upload stands when it is
taken up (``at``), what was handed in so far (``sent``), and the SHA-256 at the end (``whole``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.inputs import stream_writer as pouring

ADMIN = "USER:administrator"
ID = "the-upload-that-is-killed"
BLOCK = 1 << 16
SYNC = 4 << 20


def content(begin: int, end: int) -> bytes:
    """A part of the file; both at a multiple of eight."""
    return b"".join(number.to_bytes(8, "big") for number in range(begin // 8, end // 8))


def say(what: str, value: object) -> None:
    os.write(1, f"{what} {value}\n".encode())


async def sent(offset: int, size: int, most: int) -> AsyncIterator[bytes]:
    skipped = offset % 8
    for begin in range(offset - skipped, size, BLOCK):
        end = min(begin + BLOCK, size)
        yield content(begin, end)[skipped:]
        skipped = 0
        say("sent", end)
        if end >= offset + most:
            await asyncio.Event().wait()


async def main() -> None:
    pouring.SYNC_INTERVAL_BYTES = SYNC
    folder, passphrase, size, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    engine = await EngineHandle.open(folder, purpose="crash test", passphrase=passphrase, work=False)
    begun = await engine.create_upload(ADMIN, ID, "firmware.bin", size)
    say("at", begun.offset)
    whole = await engine.write_upload(ADMIN, ID, begun.offset, sent(begun.offset, size, most))
    say("whole", whole.sha256)
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
