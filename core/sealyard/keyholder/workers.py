"""The crypto workers that the key holder has started."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from pathlib import Path

from sealyard.keyholder.connection import ParentConnection
from sealyard.keyholder.providers import ProviderGroup
from sealyard.keyholder.state_queue import StateQueue
from sealyard.keyholder.waiting_worker import WaitingWorker
from sealyard.keyholder.worker_channel import WorkerChannel
from sealyard.model.errors import SealyardError, WorkerError
from sealyard.model.key_holder_messages import OpenKeys, StartWorkerFailed, WorkerExited, WorkerStarted

STANDBY_SECONDS = 10.0
"""How long the first worker waits to be used. A process that attaches to another one does not use it."""


class WorkerGroup:
    """Starts workers, gives them the master key, passes their pipes to the parent process, and reports their exit.

    Workers use the key providers of ``providers``.

    The first worker is started at once: it loads its modules while the key store is opened.
    """

    def __init__(self, parent: ParentConnection, log_path: Path, providers: ProviderGroup) -> None:
        self._parent = parent
        self._providers = providers
        self._log_path = log_path
        self._open_keys: OpenKeys
        self._state: StateQueue
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._standby: WaitingWorker | None = None
        # If the process cannot be started, start() reports it.
        with contextlib.suppress(OSError):
            self._standby = self._spawn_worker()

    def open(self, open_keys: OpenKeys, state: StateQueue) -> None:
        """Set what the workers use. Must be called before :meth:`start`."""
        self._open_keys = open_keys
        self._state = state
        timer = threading.Timer(STANDBY_SECONDS, self.discard_standby)
        timer.daemon = True
        timer.start()

    def discard_standby(self) -> None:
        """End the first worker if it is not in use."""
        with self._lock:
            standby, self._standby = self._standby, None
        if standby is not None:
            standby.discard()

    def start(self, request_id: int) -> None:
        """Start a worker, and report it to the parent process together with its pipes."""
        try:
            worker = self._start_worker()
        except SealyardError as error:
            self._parent.send(StartWorkerFailed(request_id=request_id, error=error.to_info()))
            return
        started = WorkerStarted(request_id=request_id, pid=worker.process.pid)
        self._parent.send(started, (worker.input_fd, worker.output_fd))
        worker.close_pipes()
        threading.Thread(target=self._serve, args=(worker,), name="worker", daemon=True).start()

    def kill(self, pid: int) -> None:
        process = self._processes.get(pid)
        if process is not None:
            process.kill()

    def _start_worker(self) -> WaitingWorker:
        """Return a worker that waits for the master key, and open the worker state for it."""
        with self._lock:
            self._state.open()
            try:
                worker = self._take_standby() or self._spawn_worker()
            except OSError as error:
                self._state.close()
                raise WorkerError(
                    f"Cannot start the crypto worker: {error.strerror}.", f"See its log: {self._log_path}"
                ) from error
            self._processes[worker.process.pid] = worker.process
        return worker

    def _spawn_worker(self) -> WaitingWorker:
        return WaitingWorker.start(self._log_path, len(self._providers.routes))

    def _take_standby(self) -> WaitingWorker | None:
        standby, self._standby = self._standby, None
        if standby is not None and standby.process.poll() is not None:
            standby.discard()
            return None
        return standby

    def _serve(self, worker: WaitingWorker) -> None:
        """Handle the requests of the worker, and wait until it exits."""
        self._providers.connect(worker.provider_ends)
        channel = WorkerChannel(worker.channel, self._state)
        channel.serve(self._open_keys)
        channel.close()
        worker.process.wait()
        self._providers.disconnect(worker.provider_ends)
        with self._lock:
            del self._processes[worker.process.pid]
        # After the last worker, another process may own the workspace.
        self._state.close()
        self._parent.send(WorkerExited(pid=worker.process.pid))
