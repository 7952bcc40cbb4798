"""A service that listens, over workspaces of a test."""

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
    """A service that runs, with the helpers of the yard."""

    def __init__(self, service: Server, engines: dict[str, EngineHandle]) -> None:
        super().__init__(engines)
        self.service = service
        self.base = service.address


@asynccontextmanager
async def run_service(folder: Path | dict[str, Path], **settings: Any) -> AsyncIterator[RunningServer]:
    """Stopped at the end, where a test has not done so."""
    folders = folder if isinstance(folder, dict) else {"yard": folder}
    engines = {name: await open_workspace(each) for name, each in folders.items()}
    made = await Server.open(ServerSettings(**{"listen": ANY_PORT, **settings}), engines)
    served = RunningServer(made, engines)
    try:
        yield served
    finally:
        await served.close()
        if WorkspaceLock.holder(next(iter(folders.values())) / "lock") is not None:
            await made.stop()


async def start_error(folder: Path, **settings: Any) -> SealyardError:
    """Why it does not start; nothing is left of the try."""
    with pytest.raises(SealyardError) as caught:
        await Server.open(ServerSettings(**{"listen": ANY_PORT, **settings}), {"yard": await open_workspace(folder)})
    assert WorkspaceLock.holder(folder / "lock") is None
    assert not (folder / SOCKET).exists()
    return caught.value
