"""The key holder's end of the private channel to one worker."""

from __future__ import annotations

import contextlib
import socket
import threading

import msgspec

from sealyard.jobs.framing import encode_line
from sealyard.keyholder.state_queue import StateQueue
from sealyard.model.base import JSON_ERRORS
from sealyard.model.key_holder_messages import HolderResponse, OpenKeys, WorkerToKeyHolder

_decoder: msgspec.json.Decoder[WorkerToKeyHolder] = msgspec.json.Decoder(WorkerToKeyHolder)


class WorkerChannel:
    """Gives a worker the master key, and passes its requests to the worker state."""

    def __init__(self, connection: socket.socket, requests: StateQueue) -> None:
        self._socket = connection
        self._requests = requests
        self._lock = threading.Lock()

    def serve(self, open_keys: OpenKeys) -> None:
        """Handle requests until the worker closes its end of the channel or sends an invalid message."""
        with contextlib.suppress(OSError, *JSON_ERRORS), self._socket.makefile("rb") as lines:
            self._send(open_keys)
            for line in lines:
                self._requests.submit(_decoder.decode(line), self._send)

    def close(self) -> None:
        """Close the channel, which ends the worker."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _send(self, message: OpenKeys | HolderResponse) -> None:
        # A worker that has ended needs no answer.
        with contextlib.suppress(OSError), self._lock:
            self._socket.sendall(encode_line(message))
