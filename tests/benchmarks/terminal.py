"""A program on a terminal of its own, as a person has it: keys go in, and what it draws comes out."""

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

LIMIT = 60.0


class Terminal:
    """``size``: columns and rows. Nothing is interpreted: what is drawn is kept as bytes."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], size: tuple[int, int] = (120, 40)) -> None:
        self._master, slave = pty.openpty()
        columns, rows = size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.drawn = b""
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=dict(environ), start_new_session=True, close_fds=True
        )
        os.close(slave)

    def until(self, words: bytes, limit: float = LIMIT) -> float:
        """Seconds from the start until ``words`` were drawn."""
        end = time.perf_counter() + limit
        while words not in self.drawn:
            left = end - time.perf_counter()
            if left <= 0:
                raise TimeoutError(f"{words!r} was not drawn; the end: {self.drawn[-2000:]!r}")
            self._read(left)
        return time.perf_counter() - self.begun

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def rest(self, seconds: float) -> None:
        """Lets it draw for a while; a full pipe would hold it up."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._read(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the program if :meth:`end` was not reached."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self, keys: bytes = b"\x11") -> int:
        """Quits it (ctrl+q) and waits; its exit code."""
        self.press(keys)
        while self.process.poll() is None:
            self._read(0.05)
        os.close(self._master)
        return self.process.returncode

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            try:
                self.drawn += os.read(self._master, 1 << 16)
            except OSError:  # the other side is closed
                time.sleep(min(seconds, 0.01))
