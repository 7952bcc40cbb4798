"""The worker's private channel to the key holder.

When the key holder ends, the process exits immediately, even in the middle of a job.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback

import msgspec

from sealyard.model.key_holder_messages import KeyHolderToWorker

_decoder: msgspec.json.Decoder[KeyHolderToWorker] = msgspec.json.Decoder(KeyHolderToWorker)


class HolderChannel:
    """Receives messages in order through a reader thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._messages: asyncio.Queue[KeyHolderToWorker] = asyncio.Queue()

    def start(self) -> None:
        """Start the reader thread. Must be called on the event loop that receives the messages."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="key-holder", daemon=True).start()

    async def receive(self) -> KeyHolderToWorker:
        return await self._messages.get()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with os.fdopen(self._fd, "rb", closefd=False) as lines:
                for line in lines:
                    loop.call_soon_threadsafe(self._messages.put_nowait, _decoder.decode(line))
        except (OSError, msgspec.MsgspecError):
            traceback.print_exc()
        finally:
            os._exit(0)
