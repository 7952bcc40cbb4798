"""A crypto worker process that waits for the master key."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sealyard.fs.private import make_private_dir, open_private_append
from sealyard.jobs.environment import select_environment


class WaitingWorker(NamedTuple):
    """A worker, the private channel to it, and the other ends of its input and output pipes.

    ``provider_ends``: the other ends of its sockets to the key providers.
    """

    process: subprocess.Popen[bytes]
    channel: socket.socket
    input_fd: int
    output_fd: int
    provider_ends: tuple[socket.socket, ...]

    @classmethod
    def start(cls, log_path: Path, provider_count: int) -> WaitingWorker:
        """Start the process. Raises ``OSError`` if it cannot be started or its log cannot be opened."""
        with contextlib.ExitStack() as child_ends, contextlib.ExitStack() as provider_ends:
            pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(provider_count)]
            for worker_end, provider_end in pairs:
                child_ends.enter_context(worker_end)
                provider_ends.enter_context(provider_end)
            input_read, input_write = os.pipe()
            child_ends.callback(os.close, input_read)
            output_read, output_write = os.pipe()
            child_ends.callback(os.close, output_write)
            channel, child_channel = socket.socketpair()
            child_ends.callback(child_channel.close)
            try:
                fds = (child_channel.fileno(), *(worker_end.fileno() for worker_end, _ in pairs))
                process = _spawn(log_path, input_read, output_write, fds)
            except BaseException:
                os.close(input_write)
                os.close(output_read)
                channel.close()
                raise
            provider_ends.pop_all()
        return cls(process, channel, input_write, output_read, tuple(provider_end for _, provider_end in pairs))

    def close_pipes(self) -> None:
        os.close(self.input_fd)
        os.close(self.output_fd)

    def discard(self) -> None:
        """End the worker, and wait until it has exited."""
        self.close_pipes()
        self.channel.close()
        for provider_end in self.provider_ends:
            provider_end.close()
        self.process.kill()
        self.process.wait()


def _spawn(log_path: Path, input_fd: int, output_fd: int, inherited_fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start the process. ``inherited_fds``: its end of the private channel, and of the sockets to key providers."""
    make_private_dir(log_path.parent)
    with os.fdopen(open_private_append(log_path), "ab") as log_file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sealyard.worker", *map(str, inherited_fds)],
            stdin=input_fd,
            stdout=output_fd,
            stderr=log_file,
            env=select_environment(os.environ),
            start_new_session=True,
            pass_fds=inherited_fds,
        )
