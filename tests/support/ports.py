"""Ports for tests whose server starts later, or starts again at the same address."""

from __future__ import annotations

import socket
from typing import Self


def accepts_connections(port: int) -> bool:
    """Return whether a server listens on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class ReservedPort:
    """Reserves a TCP port of 127.0.0.1 until it is closed.

    The socket is bound but does not listen. Connections are refused, and the kernel assigns the port to no other
    process; a server that binds this port with SO_REUSEADDR, as asyncio and uvicorn do, may listen on it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
