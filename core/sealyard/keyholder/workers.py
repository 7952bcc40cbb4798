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
from sealyard.jobs.framing import encode_line
from sealyard.keyholder.connection import ParentConnection
from sealyard.model.errors import WorkerError
from sealyard.model.key_holder_messages import (
    KeyStoreLocation,
    OpenKeys,
    StartWorkerFailed,
    WorkerExited,
    WorkerStarted,
)
from sealyard.model.workspace import WorkspacePaths


class WorkerGroup:
    """Starts workers, gives them the master key, passes their pipes to the parent process, and reports their exit."""

    def __init__(self, parent: ParentConnection, location: KeyStoreLocation, master_key: bytes) -> None:
        self._parent = parent
        self._log_path = WorkspacePaths(Path(location.workspace)).worker_log
        self._open_keys = encode_line(
            OpenKeys(workspace=location.workspace, workspace_id=location.workspace_id, master_key=master_key)
        )
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, request_id: int) -> None:
        """Start a worker, and report it to the parent process together with its pipes."""
        try:
            process, channel, pipe_fds = self._start_process()
        except OSError as error:
            failure = WorkerError(
                f"Cannot start the crypto worker: {error.strerror}.", f"See its log: {self._log_path}"
            )
            self._parent.send(StartWorkerFailed(request_id=request_id, error=failure.to_info()))
            return
        self._processes[process.pid] = process
        self._parent.send(WorkerStarted(request_id=request_id, pid=process.pid), pipe_fds)
        for fd in pipe_fds:
            os.close(fd)
        threading.Thread(target=self._serve, args=(process, channel), name="worker", daemon=True).start()

    def kill(self, pid: int) -> None:
        process = self._processes.get(pid)
        if process is not None:
            process.kill()

    def _start_process(self) -> tuple[subprocess.Popen[bytes], socket.socket, tuple[int, int]]:
        """Start a worker. Returns its process, the private channel to it, and the parent's ends of its pipes."""
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
                [sys.executable, "-m", "sealyard.worker", f"--holder-fd={channel_fd}"],
                stdin=input_fd,
                stdout=output_fd,
                stderr=log_file,
                env=select_environment(os.environ),
                start_new_session=True,
                pass_fds=[channel_fd],
            )

    def _serve(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        """Send the master key to the worker, and wait until it exits."""
        with channel, contextlib.suppress(OSError):
            channel.sendall(self._open_keys)
            while channel.recv(65536):
                pass
        process.wait()
        del self._processes[process.pid]
        self._parent.send(WorkerExited(pid=process.pid))
