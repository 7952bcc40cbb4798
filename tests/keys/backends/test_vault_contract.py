"""The contract of key backends for a real OpenBao server."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import KeyType
from tests.keys.backend_contract import BackendContract
from tests.support.openbao import MOUNT, OpenBao, open_vault


class TestVaultBackend(BackendContract):
    SIGNING_KINDS = tuple(kind for kind in KeyType if not kind.symmetric)

    @pytest.fixture(autouse=True)
    def _start_server(self, openbao: OpenBao) -> None:
        self._server = openbao

    def open_backend(self) -> AbstractAsyncContextManager[KeyBackend]:
        return open_vault(*self._server.approle())

    def name_key(self, label: str) -> str:
        return f"{MOUNT}/{label}"
