"""A provider process and its control socket, as the key holder uses them."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from sealyard.fs.private import open_log
from sealyard.jobs.environment import select_environment
from sealyard.keys.worker_settings import ProviderSection
from sealyard.model.errors import ErrorInfo
from sealyard.model.provider_messages import (
    MAX_CONTROL_BYTES,
    ConnectWorker,
    FromProvider,
    OpenProvider,
    PingProvider,
    ProviderAlive,
    ProviderFailed,
    ProviderReady,
    ToProvider,
)

_decoder: msgspec.json.Decoder[FromProvider] = msgspec.json.Decoder(FromProvider)


class ProviderProcess:
    """A running process. Only :meth:`connect` and :meth:`kill` may be called from several threads.

    The methods that wait for the process raise ``TimeoutError`` if it does not answer in time, and ``OSError`` or
    ``ValueError`` if it has ended or sends an invalid message.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control

    @classmethod
    def start(cls, section: ProviderSection, log_path: Path) -> ProviderProcess:
        """Start a process. Raises ``OSError`` if it cannot be started."""
        control, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with child_end, os.fdopen(open_log(log_path), "ab") as log_file:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "sealyard.provider", str(child_end.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    env={**select_environment(os.environ), **section.process.environment},
                    start_new_session=True,
                    pass_fds=[child_end.fileno()],
                )
        except BaseException:
            control.close()
            raise
        return cls(process, control)

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, request: OpenProvider, seconds: float) -> ErrorInfo | None:
        """Have the process open its backend. Returns the error that prevents it."""
        self._send(request)
        match self._receive(seconds):
            case ProviderReady():
                return None
            case ProviderFailed(error=error):
                return error
        raise ValueError("unexpected message")

    def ping(self, seconds: float) -> float:
        """Check that the process answers, and return for how long its oldest request has been running."""
        self._send(PingProvider())
        message = self._receive(seconds)
        if not isinstance(message, ProviderAlive):
            raise ValueError("unexpected message")
        return message.oldest_request_seconds

    def wait_exit(self, seconds: float) -> bool:
        """Wait until the process has ended; return whether it did within ``seconds``."""
        return bool(select.select([self._control], [], [], seconds)[0])

    def connect(self, provider_end: socket.socket) -> None:
        """Give the process its end of the connection of a worker. Does nothing if the process has ended."""
        message = msgspec.json.encode(ConnectWorker())
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [message], [provider_end.fileno()])

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End the process, and wait until it has exited."""
        self._process.kill()
        self._process.wait()
        self._control.close()

    def _send(self, message: ToProvider) -> None:
        self._control.sendall(msgspec.json.encode(message))

    def _receive(self, seconds: float) -> FromProvider:
        if not select.select([self._control], [], [], seconds)[0]:
            raise TimeoutError
        data = self._control.recv(MAX_CONTROL_BYTES)
        if not data:
            raise ConnectionError("the process has ended")
        return _decoder.decode(data)
