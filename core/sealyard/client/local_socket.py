"""The socket inside a workspace, through which one process reaches another's engine."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import cache
from pathlib import Path

SOCKET = "socket"
"""Its name in the workspace's folder."""

LONGEST_PATH = 100
"""Bytes of a path that fit into a socket's address everywhere."""


def lasting_path(folder: Path) -> str:
    """The socket's path, as it fits into an address for as long as this process lives.

    Through a descriptor of the folder (Linux) where the path itself is too long.
    """
    path = folder.absolute() / SOCKET
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return str(path)
    return f"/proc/self/fd/{_folder_descriptor(folder.absolute())}/{SOCKET}"


@cache
def _folder_descriptor(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def answers(folder: Path) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(lasting_path(folder))
        return True
    return False
