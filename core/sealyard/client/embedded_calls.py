"""Calls of an engine in this process, on its own thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from sealyard.client.delivery import record_delivery
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.engine.engine import Engine
from sealyard.model.credentials import PresentedToken

T = TypeVar("T")

EMBEDDED_TRUST_NOTE = "embedded: anyone with this account can act as any user"


class EngineCalls:
    """Base class of the parts of :class:`~sealyard.client.embedded.EmbeddedClient`."""

    def __init__(
        self,
        engine: Engine,
        thread: LoopThread,
        subject: str,
        trust_note: str = EMBEDDED_TRUST_NOTE,
        presented_token: PresentedToken | None = None,
    ) -> None:
        """Use :meth:`EngineHandle.client` to create clients.

        ``trust_note``: how dual control is enforced. ``presented_token``: the token of a remote caller.
        """
        self._engine = engine
        self._thread = thread
        self._subject = subject
        self._trust_note = trust_note
        self._presented_token = presented_token

    async def _execute(self, resource: str, use_case: Awaitable[T]) -> T:
        try:
            record_delivery()
        except asyncio.CancelledError:
            if isinstance(use_case, Coroutine):
                use_case.close()
            raise
        return await self._thread.call(self._engine.execute(self._subject, resource, use_case))

    async def _query(self, resource: str, use_case: Callable[[], T]) -> T:
        async def run_use_case() -> T:
            return use_case()

        return await self._await_query(resource, run_use_case())

    async def _await_query(self, resource: str, use_case: Awaitable[T]) -> T:
        return await self._thread.call(self._engine.query(self._subject, resource, use_case))
