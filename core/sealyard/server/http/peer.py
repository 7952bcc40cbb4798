"""The peer of a connection to a workspace's Unix socket."""

from __future__ import annotations

from dataclasses import dataclass

PEER_SCOPE_KEY = "sealyard.peer"
"""The key of an ASGI scope under which a local listener stores the :class:`Peer`."""


@dataclass(frozen=True)
class Peer:
    """The process at the other end of a workspace's socket: its user id, as reported by the kernel."""

    uid: int
    tenant: str
