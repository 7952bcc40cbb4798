"""Runs the process of one key provider, and restarts it when it ends or hangs."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

import msgspec

from sealyard.concurrency.backoff import RetryDelays
from sealyard.jobs.packets import PacketWriter
from sealyard.keyholder.provider_process import ProviderProcess
from sealyard.keys.worker_settings import ProviderSection
from sealyard.model.errors import ErrorInfo, KeyProviderError, KeyProviderUnavailableError, SealyardError
from sealyard.model.provider_messages import OpenProvider, ProviderUnavailable

OPEN_TIMEOUT = 60.0
"""Time in seconds that a process has to open its backend."""

PING_INTERVAL = 2.0
"""Seconds between two checks that the process answers."""

PING_TIMEOUT = 10.0
"""Time in seconds that the process has to answer a check, before it is restarted."""

MAX_REQUEST_SECONDS = 90.0
"""How long a request may run before the process is restarted: longer than a worker waits for the answer."""

STABLE_SECONDS = 60.0
"""After this time without a failure, the next restart is not delayed further."""

RESTART_DELAYS = RetryDelays.exponential(0.5, 30.0)

_MAX_PACKET_BYTES = 64 * 1024


class ProviderSupervisor:
    """Starts the process with the first request of a worker, and gives it the connections of all workers.

    It keeps the process's ends of the connections open, so that the next process can continue with them. While no
    process runs, workers receive the reason. If the settings or a secret are refused, there is no next process, because
    tokens lock a PIN that is wrong several times.
    """

    def __init__(self, section: ProviderSection, workspace: Path, log_path: Path) -> None:
        self._section = section
        self._name = section.settings.name
        self._workspace = workspace
        self._log_path = log_path
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._process: ProviderProcess | None = None
        self._is_ready = False
        """Whether the process has opened its backend."""
        self._was_ready = False
        self._error: ErrorInfo | None = None
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"provider-{self._name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Process id of the running process; None if there is none."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def connect(self, provider_end: socket.socket) -> None:
        """Serve the worker at the other end of this socket until :meth:`disconnect`."""
        with self._lock:
            self._connections.add(provider_end)
            if self._process is not None and self._is_ready:
                self._process.connect(provider_end)
            elif self._error is not None:
                _report(provider_end, self._error)
        self._wake()

    def disconnect(self, provider_end: socket.socket) -> None:
        """Close the socket of a worker that has ended."""
        with self._lock:
            self._connections.discard(provider_end)
            provider_end.close()

    def close(self) -> None:
        """End the process, and start no other."""
        self._closing.set()
        self._wake()
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    # ---- the thread

    def _run(self) -> None:
        """Start the process when it is needed, and again after each failure that can be temporary."""
        self._wait_for_request()
        failures = 0
        while not self._closing.is_set():
            started_at = time.monotonic()
            error = self._try_to_run_process()
            failures = failures + 1 if time.monotonic() < started_at + STABLE_SECONDS else 1
            self._report_error(error)
            if error.code != KeyProviderUnavailableError.code:
                return
            self._closing.wait(RESTART_DELAYS.delay_after(failures))
            self._discard_requests()

    def _wait_for_request(self) -> None:
        """Wait until a worker has sent a request, or until :meth:`close`."""
        ended: set[socket.socket] = set()
        while not self._closing.is_set():
            with self._lock:
                connections = [connection for connection in self._connections if connection not in ended]
            try:
                readable = select.select([self._wake_reader, *connections], [], [])[0]
                if self._wake_reader in readable:
                    self._wake_reader.recv(_MAX_PACKET_BYTES)
                for connection in set(readable).intersection(connections):
                    if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                        return
                    ended.add(connection)
            except (OSError, ValueError):
                continue  # a worker has ended, and its socket was closed

    def _try_to_run_process(self) -> ErrorInfo:
        """Like :meth:`_run_process`, but also reports a failure of this process itself, so that no worker waits."""
        try:
            return self._run_process()
        except Exception as error:
            traceback.print_exc()
            return KeyProviderError(
                f"The key holder failed to run the key provider {self._name} ({type(error).__name__}).",
                f"See its log, {self._log_path}, then restart Sealyard.",
            ).to_info()

    def _run_process(self) -> ErrorInfo:
        """Start a process and wait until it ends or hangs. Returns the error for the requests of workers."""
        try:
            with self._lock:
                process = self._process = ProviderProcess.start(self._section, self._log_path)
        except OSError as error:
            return self._unavailable_error(f"cannot be started: {error.strerror}")
        try:
            if self._closing.is_set():
                return self._unavailable_error("has ended")
            if error_info := self._open(process):
                return error_info
            self._connect_workers(process)
            return self._watch(process)
        finally:
            with self._lock:
                self._process, self._is_ready = None, False
            process.close()

    def _open(self, process: ProviderProcess) -> ErrorInfo | None:
        """Have the process open the backend. Returns the error that prevents it.

        A process that ends or hangs before the backend was open for the first time can have been refused a PIN, so that
        the error is permanent.
        """
        try:
            request = OpenProvider(
                settings=self._section.settings,
                secrets=self._section.read_secrets(os.environ),
                process=self._section.process,
                readable_paths=tuple(map(str, self._section.find_option_paths(self._workspace))),
            )
            error = process.open(request, OPEN_TIMEOUT)
        except SealyardError as secrets_error:
            return secrets_error.to_info()
        except (OSError, ValueError) as process_error:
            problem = "did not answer" if isinstance(process_error, TimeoutError) else "ended"
            if self._was_ready or not self._section.secret_sources:
                return self._unavailable_error(f"{problem} while it was starting")
            return KeyProviderError(
                f"The process of the key provider {self._name} {problem} while it was starting.",
                f"See its log, {self._log_path}, then restart Sealyard to try it again.",
            ).to_info()
        self._was_ready = self._was_ready or error is None
        return error

    def _connect_workers(self, process: ProviderProcess) -> None:
        with self._lock:
            self._is_ready, self._error = True, None
            for connection in self._connections:
                process.connect(connection)

    def _watch(self, process: ProviderProcess) -> ErrorInfo:
        """Wait until the process has ended or hangs, and return the error."""
        try:
            while not process.wait_exit(PING_INTERVAL):
                if process.ping(PING_TIMEOUT) > MAX_REQUEST_SECONDS:
                    return self._unavailable_error("has not finished a request in time")
        except TimeoutError:
            return self._unavailable_error("does not answer")
        except (OSError, ValueError):
            return self._unavailable_error("has ended")
        return self._unavailable_error("has ended")

    def _report_error(self, error: ErrorInfo) -> None:
        """Log the error, and send it to all workers, whose requests fail with it."""
        if self._closing.is_set():
            return
        if error != self._error:
            sys.stderr.write(f"{error.message}\n")
            sys.stderr.flush()
        with self._lock:
            self._error = error
            for connection in self._connections:
                _report(connection, error)

    def _discard_requests(self) -> None:
        """Remove requests from the connections: they have failed, and must not be executed by the next process."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    while connection.recv(_MAX_PACKET_BYTES, socket.MSG_DONTWAIT):
                        pass

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"1", socket.MSG_DONTWAIT)

    def _unavailable_error(self, problem: str) -> ErrorInfo:
        return KeyProviderUnavailableError(
            f"The process of the key provider {self._name} {problem}.", "It is started again automatically."
        ).to_info()


def _report(connection: socket.socket, error: ErrorInfo) -> None:
    # A worker that has ended needs no answer.
    with contextlib.suppress(OSError):
        PacketWriter(connection.fileno()).send(msgspec.json.encode(ProviderUnavailable(error=error)))
