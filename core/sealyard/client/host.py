"""The engine of one workspace, for whoever serves it to others: on the local socket, or as a server."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.thread import LoopThread
from sealyard.engine.engine import Engine

T = TypeVar("T")


class Host:
    """Not a client: rights are judged for a subject, and here nobody has said yet who asks."""

    def __init__(self, engine: Engine, thread: LoopThread) -> None:
        self.engine = engine
        self._thread = thread

    @property
    def folder(self) -> Path:
        return self.engine.places.root

    def client(self, subject: str) -> EmbeddedClient:
        """The engine as this subject meets it. Not to be closed: the engine is the host's."""
        return EmbeddedClient(self.engine, self._thread, subject)

    async def call(self, work: Awaitable[T]) -> T:
        """Does ``work`` on the engine's loop."""
        return await self._thread.call(_awaited(work))


async def _awaited(work: Awaitable[T]) -> T:
    return await work
