"""The worker's end of the pipes. When the engine's end closes, the process ends at once, in the middle of a job too."""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from typing import Any

import msgspec

from sealyard.jobs.framing import decode_request, encode_line
from sealyard.model.worker_messages import ToWorker


class Channel:
    """Messages in order, from a reader thread; messages out, whole lines, from any thread."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._writing = threading.Lock()
        self._messages: asyncio.Queue[ToWorker] = asyncio.Queue()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="channel", daemon=True).start()

    async def receive(self) -> ToWorker:
        return await self._messages.get()

    def send(self, message: Any) -> None:
        """A broken pipe ends the process: nobody is left to work for."""
        try:
            with self._writing:
                _write_all(self._outgoing, encode_line(message))
        except OSError:
            os._exit(0)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with os.fdopen(self._incoming, "rb") as lines:
                for text in lines:
                    loop.call_soon_threadsafe(self._messages.put_nowait, decode_request.decode(text))
        except (OSError, msgspec.MsgspecError):
            traceback.print_exc()
        finally:
            # A thread waiting in a cipher or a disk must not keep a worker without an engine alive.
            os._exit(0)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
