"""Run a program on a pseudo-terminal: send keys, and read what it draws."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Self

TIMEOUT = 60.0


class Terminal:
    """``size``: columns and rows. The output is kept as bytes and not interpreted."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], size: tuple[int, int] = (120, 40)) -> None:
        self._master, slave = pty.openpty()
        columns, rows = size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.output = b""
        self.started_at = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=dict(environ), start_new_session=True, close_fds=True
        )
        os.close(slave)

    def wait_for(self, text: bytes, timeout: float = TIMEOUT) -> float:
        """Wait until ``text`` is drawn; return the seconds since the start."""
        deadline = time.perf_counter() + timeout
        while text not in self.output:
            remaining = deadline - time.perf_counter()
            if remaining <= 0:
                raise TimeoutError(f"{text!r} was not drawn; the output ends with {self.output[-2000:]!r}")
            self._read_output(remaining)
        return time.perf_counter() - self.started_at

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def drain(self, seconds: float) -> None:
        """Read the output for some time, so that the program is not blocked by a full buffer."""
        deadline = time.perf_counter() + seconds
        while (remaining := deadline - time.perf_counter()) > 0:
            self._read_output(remaining)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the program if :meth:`quit` was not called."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def quit(self, keys: bytes = b"\x11") -> int:
        """Quit the program with ctrl+q and wait for it; return its exit code."""
        self.press(keys)
        while self.process.poll() is None:
            self._read_output(0.05)
        os.close(self._master)
        return self.process.returncode

    def _read_output(self, seconds: float) -> None:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            try:
                self.output += os.read(self._master, 1 << 16)
            except OSError:  # the program closed the terminal
                time.sleep(min(seconds, 0.01))
