"""A crypto worker process that waits for the master key."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from sealyard.fs.private import make_private_dir, open_private_append
from sealyard.jobs.environment import select_environment


class WaitingWorker(NamedTuple):
    """A worker, the private channel to it, and the other ends of its input and output pipes."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    input_fd: int
    output_fd: int

    @classmethod
    def start(cls, log_path: Path) -> WaitingWorker:
        """Start the process. Raises ``OSError`` if it cannot be started or its log cannot be opened."""
        with contextlib.ExitStack() as child_ends:
            input_read, input_write = os.pipe()
            child_ends.callback(os.close, input_read)
            output_read, output_write = os.pipe()
            child_ends.callback(os.close, output_write)
            channel, child_channel = socket.socketpair()
            child_ends.callback(child_channel.close)
            try:
                process = _spawn(log_path, input_read, output_write, child_channel.fileno())
            except BaseException:
                os.close(input_write)
                os.close(output_read)
                channel.close()
                raise
        return cls(process, channel, input_write, output_read)

    def close_pipes(self) -> None:
        os.close(self.input_fd)
        os.close(self.output_fd)

    def discard(self) -> None:
        """End the worker, and wait until it has exited."""
        self.close_pipes()
        self.channel.close()
        self.process.kill()
        self.process.wait()


def _spawn(log_path: Path, input_fd: int, output_fd: int, channel_fd: int) -> subprocess.Popen[bytes]:
    make_private_dir(log_path.parent)
    with os.fdopen(open_private_append(log_path), "ab") as log_file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sealyard.worker", str(channel_fd)],
            stdin=input_fd,
            stdout=output_fd,
            stderr=log_file,
            env=select_environment(os.environ),
            start_new_session=True,
            pass_fds=[channel_fd],
        )
