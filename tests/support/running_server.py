"""A running :class:`~sealyard.server.server.Server` for workspaces of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.sharing.socket import SOCKET
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.errors import SealyardError
from sealyard.server.server import Server
from sealyard.server.settings import ServerSettings
from tests.support.server_harness import ServerHarness, open_workspace

ANY_PORT = "127.0.0.1:0"


class RunningServer(ServerHarness):
    """A running server, with the helpers of :class:`ServerHarness`."""

    def __init__(self, service: Server, engines: dict[str, EngineHandle]) -> None:
        super().__init__(engines)
        self.service = service
        self.base = service.address


@asynccontextmanager
async def run_service(folder: Path | dict[str, Path], **settings: Any) -> AsyncIterator[RunningServer]:
    """Run a server. It is stopped at the end of the block unless the test has stopped it."""
    folders = folder if isinstance(folder, dict) else {"yard": folder}
    engines = {name: await open_workspace(each) for name, each in folders.items()}
    service = await Server.open(ServerSettings(**{"listen": ANY_PORT, **settings}), engines)
    server = RunningServer(service, engines)
    try:
        yield server
    finally:
        await server.close()
        if WorkspaceLock.holder(next(iter(folders.values())) / "lock") is not None:
            await service.stop()


async def start_error(folder: Path, **settings: Any) -> SealyardError:
    """Return the error of a failed start, after checking that no lock and no socket remain."""
    with pytest.raises(SealyardError) as caught:
        await Server.open(ServerSettings(**{"listen": ANY_PORT, **settings}), {"yard": await open_workspace(folder)})
    assert WorkspaceLock.holder(folder / "lock") is None
    assert not (folder / SOCKET).exists()
    return caught.value
