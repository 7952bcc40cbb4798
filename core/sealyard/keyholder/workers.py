"""The crypto workers that the key holder has started."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from sealyard.fs.private import make_private_dir, open_private_append
from sealyard.jobs.environment import select_environment
from sealyard.keyholder.connection import ParentConnection
from sealyard.keyholder.state_queue import StateQueue
from sealyard.keyholder.worker_channel import WorkerChannel
from sealyard.model.errors import SealyardError, WorkerError
from sealyard.model.key_holder_messages import (
    OpenKeys,
    StartWorkerFailed,
    WorkerExited,
    WorkerStarted,
)
from sealyard.model.workspace import WorkspacePaths


class WorkerGroup:
    """Starts workers, gives them the master key, passes their pipes to the parent process, and reports their exit."""

    def __init__(self, parent: ParentConnection, open_keys: OpenKeys, state: StateQueue) -> None:
        self._parent = parent
        self._log_path = WorkspacePaths(Path(open_keys.workspace)).worker_log
        self._open_keys = open_keys
        self._state = state
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, request_id: int) -> None:
        """Start a worker, and report it to the parent process together with its pipes."""
        try:
            process, channel, pipe_fds = self._start_process()
        except SealyardError as error:
            self._parent.send(StartWorkerFailed(request_id=request_id, error=error.to_info()))
            return
        self._parent.send(WorkerStarted(request_id=request_id, pid=process.pid), pipe_fds)
        for fd in pipe_fds:
            os.close(fd)
        threading.Thread(target=self._serve, args=(process, channel), name="worker", daemon=True).start()

    def kill(self, pid: int) -> None:
        process = self._processes.get(pid)
        if process is not None:
            process.kill()

    def _start_process(self) -> tuple[subprocess.Popen[bytes], socket.socket, tuple[int, int]]:
        """Start a worker; open the worker state for the first one.

        Returns its process, the private channel to it, and the parent's ends of its pipes.
        """
        with self._lock:
            self._state.open()
            try:
                process, channel, pipe_fds = self._create_process()
            except OSError as error:
                self._close_unused_state()
                raise WorkerError(
                    f"Cannot start the crypto worker: {error.strerror}.", f"See its log: {self._log_path}"
                ) from error
            self._processes[process.pid] = process
        return process, channel, pipe_fds

    def _create_process(self) -> tuple[subprocess.Popen[bytes], socket.socket, tuple[int, int]]:
        with contextlib.ExitStack() as child_ends:
            input_read, input_write = os.pipe()
            child_ends.callback(os.close, input_read)
            output_read, output_write = os.pipe()
            child_ends.callback(os.close, output_write)
            channel, child_channel = socket.socketpair()
            child_ends.callback(child_channel.close)
            try:
                process = self._spawn(input_read, output_write, child_channel.fileno())
            except BaseException:
                os.close(input_write)
                os.close(output_read)
                channel.close()
                raise
        return process, channel, (input_write, output_read)

    def _spawn(self, input_fd: int, output_fd: int, channel_fd: int) -> subprocess.Popen[bytes]:
        make_private_dir(self._log_path.parent)
        with os.fdopen(open_private_append(self._log_path), "ab") as log_file:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "sealyard.worker", f"--holder-fd={channel_fd}"],
                stdin=input_fd,
                stdout=output_fd,
                stderr=log_file,
                env=select_environment(os.environ),
                start_new_session=True,
                pass_fds=[channel_fd],
            )

    def _serve(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        """Handle the requests of the worker, and wait until it exits."""
        channel = WorkerChannel(connection, self._state)
        channel.serve(self._open_keys)
        channel.close()
        process.wait()
        with self._lock:
            del self._processes[process.pid]
            self._close_unused_state()
        self._parent.send(WorkerExited(pid=process.pid))

    def _close_unused_state(self) -> None:
        """Close the worker state if there is no worker: another process may own the workspace from now on."""
        if not self._processes:
            self._state.close()
