"""How many may be connected at once, so that the process never runs out of descriptors."""

from __future__ import annotations

import resource
import socket
from typing import Any
from weakref import WeakSet

MAX_CONNECTIONS = 1000
"""Over the network, at once."""

DESCRIPTORS_PER_CONNECTION = 4
"""One is the connection's own; the others are for files it reads or writes, and for what the engines have open."""


class ConnectionLimitedSocket(socket.socket):
    """Listens; closes whoever comes while all places are taken.

    Counted here and not where HTTP begins: a TLS handshake that never ends takes a place too.
    """

    def __init__(self, family: int, kind: int, protocol: int, places: int) -> None:
        super().__init__(family, kind, protocol)
        self._places = places
        self._taken: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises :class:`ConnectionAbortedError` for who finds no place: an event loop passes over that."""
        connection, address = super().accept()
        if self._is_full():
            connection.close()
            raise ConnectionAbortedError
        self._taken.add(connection)
        return connection, address

    def _is_full(self) -> bool:
        """Closed ones may be remembered for a while; they are looked for only when it matters."""
        if len(self._taken) >= self._places:
            self._taken = WeakSet(each for each in self._taken if each.fileno() != -1)
        return len(self._taken) >= self._places


def connection_limit() -> int:
    """As many as the process has descriptors for; its own soft limit is raised for them where it may be."""
    wanted = MAX_CONNECTIONS * DESCRIPTORS_PER_CONNECTION
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed // DESCRIPTORS_PER_CONNECTION
