"""Base class of the groups of calls that make up the embedded client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sealyard.concurrency.loop_thread import LoopThread
from sealyard.engine.engine import Engine

T = TypeVar("T")


class EmbeddedCalls:
    """Runs use cases of an engine in this process, on its thread."""

    def __init__(self, engine: Engine, thread: LoopThread, subject: str) -> None:
        self._engine = engine
        self._thread = thread
        self._subject = subject

    async def _execute(self, resource: str, use_case: Awaitable[T]) -> T:
        return await self._thread.call(self._engine.execute(self._subject, resource, use_case))

    async def _query(self, resource: str, use_case: Callable[[], T]) -> T:
        async def run_use_case() -> T:
            return use_case()

        return await self._thread.call(self._engine.query(self._subject, resource, run_use_case()))
