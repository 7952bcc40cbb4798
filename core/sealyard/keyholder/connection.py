"""The key holder's end of the connection to the process that started it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sealyard.jobs.framing import encode_line


class ParentConnection:
    """Sends messages, with file descriptors if needed, from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Send ``message``. Does nothing if the parent process has ended, because the main loop then ends too."""
        data = encode_line(message)
        with contextlib.suppress(OSError), self._lock:
            sent = socket.send_fds(self._socket, [data], fds) if fds else 0
            self._socket.sendall(data[sent:])

    def call_when_closed(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in another thread if the parent process ends before it sends another message."""
        threading.Thread(target=self._watch, args=(callback,), name="parent", daemon=True).start()

    def _watch(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            select.select([self._socket], [], [])
            if not self._socket.recv(1, socket.MSG_PEEK):
                callback()
