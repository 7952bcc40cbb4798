"""The worker's end of the pipes to the engine.

When the engine closes its end, the process exits immediately, even in the middle of a job.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from typing import Any

from sealyard.fs.atomic import write_all
from sealyard.jobs.framing import decode_request, encode_line
from sealyard.model.base import JSON_ERRORS
from sealyard.model.worker_messages import ToWorker


class Channel:
    """Receives messages in order through a reader thread, and sends whole lines from any thread."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self._input = os.fdopen(input_fd, "rb")
        self._output_fd = output_fd
        self._write_lock = threading.Lock()
        self._messages: asyncio.Queue[ToWorker] = asyncio.Queue()

    def start(self) -> None:
        """Start the reader thread. Must be called on the event loop that receives the messages."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="channel", daemon=True).start()

    async def receive(self) -> ToWorker:
        return await self._messages.get()

    def send(self, message: Any) -> None:
        """Send a message. If the pipe is broken, the engine has ended, so the worker process exits."""
        try:
            with self._write_lock:
                write_all(self._output_fd, encode_line(message))
        except OSError:
            os._exit(0)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for line in self._input:
                loop.call_soon_threadsafe(self._messages.put_nowait, decode_request.decode(line))
        except (OSError, *JSON_ERRORS):
            traceback.print_exc()
        finally:
            # Exit without joining threads: a thread that waits for a cipher or the disk must not keep the worker alive.
            os._exit(0)
