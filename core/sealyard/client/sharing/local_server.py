"""Holding a workspace for others: the server's part of it, found by its entry point, for it stands above the client."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import NotFoundError

ENTRY_POINT_GROUP = "sealyard.hosting"


class LocalServer(Protocol):
    """An engine reachable by others of this machine, and its webhooks, from :meth:`start` to :meth:`stop`.

    :meth:`start` raises :class:`StorageError` where nobody can reach it; the webhooks are sent all the same.
    """

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def load_local_server(host: EngineHandle, group: str = "") -> LocalServer:
    """``group``: of this machine, whose members may come too. Loads the server: not for a thread that must not wait.

    Raises :class:`NotFoundError` where none is installed.
    """
    for found in entry_points(group=ENTRY_POINT_GROUP):
        made: LocalServer = found.load()(host, group=group)
        return made
    raise NotFoundError("No server is installed.", "Install Sealyard whole.")
