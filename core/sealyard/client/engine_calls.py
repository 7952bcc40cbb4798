"""Calls to an engine that runs on its own thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sealyard.concurrency.loop_thread import LoopThread
from sealyard.engine.engine import Engine

T = TypeVar("T")


class EngineCalls:
    """Base class of the embedded client: runs use cases of the engine, on behalf of one subject."""

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
