"""Share one run of an operation among callers that request it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from sealyard.client.protocol import ProgressCallback

T = TypeVar("T")

StartCall = Callable[[ProgressCallback], Coroutine[Any, Any, T]]
"""Starts a call, which reports its progress to the given callback."""


class _SharedCall(Generic[T]):
    """A running call, the progress callbacks of its callers and the number of callers that wait for it."""

    def __init__(self, start: StartCall[T]) -> None:
        self.listeners: list[ProgressCallback] = []
        self.waiters = 0
        self.work = asyncio.create_task(start(self._report))

    def _report(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(done, total)


class CoalescedCalls(Generic[T]):
    """Calls shared by key, on one event loop. A call is cancelled when its last waiter is cancelled."""

    def __init__(self) -> None:
        self._calls: dict[str, _SharedCall[T]] = {}

    async def run(self, key: str, start: StartCall[T], progress: ProgressCallback | None) -> T:
        """Wait for the call that runs under this key; if there is none, run ``start``.

        ``progress`` also receives the progress of the call from now on.
        """
        call = self._calls.get(key) or self._start(key, start)
        if progress is not None:
            call.listeners.append(progress)
        call.waiters += 1
        try:
            return await asyncio.shield(call.work)
        finally:
            call.waiters -= 1
            if not call.waiters and not call.work.done():
                self._remove(key, call)
                call.work.cancel()
                await asyncio.wait({call.work})

    def _start(self, key: str, start: StartCall[T]) -> _SharedCall[T]:
        call = _SharedCall(start)
        call.work.add_done_callback(lambda _: self._remove(key, call))
        self._calls[key] = call
        return call

    def _remove(self, key: str, call: _SharedCall[T]) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]
