"""The Unix socket in a workspace's folder, through which processes connect to the lock holder's engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from functools import cache
from pathlib import Path

SOCKET = "socket"
"""The name of the socket in the workspace's folder."""

MAX_PATH_BYTES = 100
"""Maximum length of a path that fits into a socket address on every platform."""

RESPONSE_TIMEOUT = 5.0
"""Seconds to wait for a response. A listening process that takes longer hangs or is suspended."""

_HEALTH_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def socket_path(folder: Path) -> str:
    """Return a path of the workspace's socket that fits into a socket address. Use the path only in this process.

    If the actual path is too long, the returned path leads through a descriptor of the folder (Linux only), which stays
    open until the process ends.
    """
    path = folder.absolute() / SOCKET
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        return str(path)
    return f"/proc/self/fd/{_open_folder(folder.absolute())}/{SOCKET}"


@cache
def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def is_listening(folder: Path) -> bool:
    """Return whether a process accepts connections on the socket, even if it does not respond.

    A socket file left by a process that has ended does not count.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(RESPONSE_TIMEOUT)
        sock.connect(socket_path(folder))
        return True
    return False


async def is_responsive(folder: Path) -> bool:
    """Return whether a process listens on the socket and responds within :data:`RESPONSE_TIMEOUT`."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            return await _is_healthy(socket_path(folder))
    return False


async def _is_healthy(path: str) -> bool:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(_HEALTH_REQUEST)
        return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()
