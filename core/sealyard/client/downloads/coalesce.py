"""Share one call of an operation among callers that request the operation at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from sealyard.client.protocol import ProgressCallback

T = TypeVar("T")

StartCall = Callable[[ProgressCallback], Coroutine[Any, Any, T]]
"""Starts a call that reports its progress to the given callback."""


class _SharedCall(Generic[T]):
    """A running call, the progress callbacks of its callers, and the number of callers that wait for the call."""

    def __init__(self, start: StartCall[T]) -> None:
        self.progress_callbacks: list[ProgressCallback] = []
        self.waiter_count = 0
        self.task = asyncio.create_task(start(self._report))

    def _report(self, done: int, total: int) -> None:
        for progress in self.progress_callbacks:
            progress(done, total)


class CoalescedCalls(Generic[T]):
    """Running calls by key, shared by callers on one event loop.

    A call is cancelled when the last caller that waits for it is cancelled.
    """

    def __init__(self) -> None:
        self._calls: dict[str, _SharedCall[T]] = {}

    async def run(self, key: str, start: StartCall[T], progress: ProgressCallback | None) -> T:
        """Return the result of the running call with this key. If there is none, start one with ``start``.

        ``progress`` receives the progress of the call from now on.
        """
        call = self._calls.get(key) or self._start(key, start)
        if progress is not None:
            call.progress_callbacks.append(progress)
        call.waiter_count += 1
        try:
            return await asyncio.shield(call.task)
        finally:
            call.waiter_count -= 1
            if not call.waiter_count and not call.task.done():
                self._remove(key, call)
                call.task.cancel()
                await asyncio.wait({call.task})

    def _start(self, key: str, start: StartCall[T]) -> _SharedCall[T]:
        call = _SharedCall(start)
        call.task.add_done_callback(lambda _: self._remove(key, call))
        self._calls[key] = call
        return call

    def _remove(self, key: str, call: _SharedCall[T]) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]
