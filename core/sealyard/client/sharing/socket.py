"""The socket inside a workspace, through which one process reaches another's engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from functools import cache
from pathlib import Path

SOCKET = "socket"
"""Its name in the workspace's folder."""

LONGEST_PATH = 100
"""Bytes of a path that fit into a socket's address everywhere."""

RESPONSE_TIMEOUT = 5.0
"""Seconds in which a process that listens should say that it lives; one that does not hangs, or was stopped."""

_ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def socket_path(folder: Path) -> str:
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


def is_listening(folder: Path) -> bool:
    """Whether there is somebody at all, awake or not. What a process that is gone left there is nobody."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(RESPONSE_TIMEOUT)
        sock.connect(socket_path(folder))
        return True
    return False


async def is_responsive(folder: Path) -> bool:
    """Whether somebody listens there, and is awake."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            return await _alive(socket_path(folder))
    return False


async def _alive(path: str) -> bool:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(_ALIVE)
        return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()
