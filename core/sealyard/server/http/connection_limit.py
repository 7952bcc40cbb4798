"""A limit on simultaneous connections, so that the process never runs out of file descriptors."""

from __future__ import annotations

import resource
import socket
from typing import Any
from weakref import WeakSet

MAX_CONNECTIONS = 1000
"""Maximum number of simultaneous network connections."""

DESCRIPTORS_PER_CONNECTION = 4
"""One for the connection itself; the others for files that it reads or writes, and for files of the engines."""


class ConnectionLimitedSocket(socket.socket):
    """Listening socket that closes new connections while the limit is reached.

    Connections are counted here, below HTTP, because an unfinished TLS handshake also occupies one.
    """

    def __init__(self, family: int, kind: int, protocol: int, limit: int) -> None:
        super().__init__(family, kind, protocol)
        self._limit = limit
        self._connections: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Raises :class:`ConnectionAbortedError`, which event loops ignore, at the limit."""
        connection, address = super().accept()
        if self._is_full():
            connection.close()
            raise ConnectionAbortedError
        self._connections.add(connection)
        return connection, address

    def _is_full(self) -> bool:
        """Return whether the limit is reached. Closed connections are removed only then."""
        if len(self._connections) >= self._limit:
            self._connections = WeakSet(each for each in self._connections if each.fileno() != -1)
        return len(self._connections) >= self._limit


def connection_limit() -> int:
    """Return the connection limit for the available file descriptors, after raising the process's soft limit."""
    wanted = MAX_CONNECTIONS * DESCRIPTORS_PER_CONNECTION
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed // DESCRIPTORS_PER_CONNECTION
