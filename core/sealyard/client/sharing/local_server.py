"""The local server, through which other processes use this process's engine.

The server is loaded through an entry point: the server package depends on the client package, which therefore cannot
import it.
"""

from __future__ import annotations

from typing import Protocol

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import NotFoundError

ENTRY_POINT_GROUP = "sealyard.hosting"


class LocalServer(Protocol):
    """Serves an engine to other processes on this machine and sends its webhooks, until it is stopped.

    :meth:`start` raises :class:`StorageError` if the socket cannot be created; webhooks are sent nevertheless.
    """

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class LocalServerFactory(Protocol):
    """Creates a local server; the object that the entry point refers to."""

    def __call__(self, engine: EngineHandle, *, os_group: str, allow_private_webhooks: bool) -> LocalServer: ...


def load_local_server(engine: EngineHandle, os_group: str, *, allow_private_webhooks: bool) -> LocalServer:
    """Create a local server for ``engine``.

    Members of the operating system group ``os_group`` may also connect. ``allow_private_webhooks``: whether to allow
    webhooks and notifications to all addresses and without encryption. Blocks while the server package is imported, so
    do not call it on an event loop. Raises :class:`NotFoundError` if no server is installed.
    """
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        create_server: LocalServerFactory = entry_point.load()
        return create_server(engine, os_group=os_group, allow_private_webhooks=allow_private_webhooks)
    raise NotFoundError("The server component is not installed.", "Reinstall Sealyard.")
