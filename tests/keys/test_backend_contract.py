"""Tests of the backend contract with a backend in memory, so that a failure elsewhere is the fault of that backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import KeyType
from tests.keys.backend_contract import BackendContract
from tests.support.memory_backend import MemoryBackend


class TestMemoryBackend(BackendContract):
    SIGNING_KINDS = tuple(kind for kind in KeyType if not kind.symmetric)

    @asynccontextmanager
    async def open_backend(self) -> AsyncIterator[KeyBackend]:
        yield MemoryBackend()

    def name_key(self, label: str) -> str:
        return label
