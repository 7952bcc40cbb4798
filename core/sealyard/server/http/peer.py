"""The peer of a connection to a workspace's Unix socket."""

from __future__ import annotations

from dataclasses import dataclass

PEER_SCOPE_KEY = "sealyard.peer"
"""Key in the ASGI scope under which a local listener stores the :class:`Peer`."""


@dataclass(frozen=True)
class Peer:
    """The process at the other end of a workspace's Unix socket.

    ``uid``: user id of the process, as reported by the kernel. ``tenant``: the tenant to which the socket belongs.
    """

    uid: int
    tenant: str
