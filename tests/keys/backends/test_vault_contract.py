"""The contract of key backends for a real OpenBao server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.vault.backend import VaultBackend
from sealyard.model.algorithms import KeyType
from tests.keys.backend_contract import BackendContract
from tests.support.openbao import MOUNT, OpenBao


class TestVaultBackend(BackendContract):
    SIGNING_KINDS = tuple(kind for kind in KeyType if not kind.symmetric)

    @pytest.fixture(autouse=True)
    def _start_server(self, openbao: OpenBao) -> None:
        self._server = openbao

    def open_backend(self) -> AbstractAsyncContextManager[KeyBackend]:
        return _open_backend(self._server)

    def name_key(self, label: str) -> str:
        return f"{MOUNT}/{label}"


@asynccontextmanager
async def _open_backend(server: OpenBao) -> AsyncIterator[KeyBackend]:
    backend = await VaultBackend.open(*server.approle())
    try:
        yield backend
    finally:
        await backend.close()
