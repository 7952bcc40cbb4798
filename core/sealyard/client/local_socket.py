"""The socket inside a workspace, through which one process reaches another's engine."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

SOCKET = "socket"
"""Its name in the workspace's folder."""

LONGEST_PATH = 100
"""Bytes of a path that fit into a socket's address everywhere."""


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[Path]:
    """The socket's path; through a descriptor of the folder where it is too long for an address (Linux)."""
    path = folder / SOCKET
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}/{SOCKET}")
    finally:
        os.close(descriptor)


def answers(folder: Path) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), short_path(folder) as path, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        return True
    return False
