"""A limit on simultaneous connections, so that the process never runs out of file descriptors."""

from __future__ import annotations

import resource
import socket
from typing import Any
from weakref import WeakSet

MAX_CONNECTIONS = 1000
"""Maximum number of simultaneous network connections."""

DESCRIPTORS_PER_CONNECTION = 4
"""File descriptors per connection: its socket, and the files opened by its request and the engine."""


class ConnectionLimitedSocket(socket.socket):
    """A listening socket that closes new connections while the limit is reached.

    Connections are counted here, below HTTP, because an unfinished TLS handshake also occupies a connection.
    """

    def __init__(self, family: int, kind: int, protocol: int, limit: int) -> None:
        super().__init__(family, kind, protocol)
        self._limit = limit
        self._connections: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        If the limit is reached, closes it and raises :class:`ConnectionAbortedError`, which asyncio ignores.
        """
        connection, address = super().accept()
        if self._is_full():
            connection.close()
            raise ConnectionAbortedError
        self._connections.add(connection)
        return connection, address

    def _is_full(self) -> bool:
        """Return whether the limit is reached, after removing closed connections."""
        if len(self._connections) >= self._limit:
            self._connections = WeakSet(connection for connection in self._connections if connection.fileno() != -1)
        return len(self._connections) >= self._limit


def connection_limit() -> int:
    """Raise the process's soft limit on file descriptors if necessary, and return how many connections it allows."""
    required_descriptors = MAX_CONNECTIONS * DESCRIPTORS_PER_CONNECTION
    old_soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft_limit = required_descriptors if hard_limit == resource.RLIM_INFINITY else min(required_descriptors, hard_limit)
    if old_soft_limit != resource.RLIM_INFINITY and old_soft_limit < soft_limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit, hard_limit))
    return soft_limit // DESCRIPTORS_PER_CONNECTION
