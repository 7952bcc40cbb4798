"""A thread with an event loop of its own, and calls into it from any other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


class LoopThread:
    """A daemon thread: it never keeps a process alive."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs ``work`` over there and waits here. Cancelling the wait cancels the work."""
        return await self.submit(work)

    def submit(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Runs ``work`` over there; its outcome is a future of the caller's loop."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def iterate(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Walks an iterator over there, one item a hop; closes it there when the walk ends here."""
        try:
            while (item := await self.call(_next(items))) is not _END:
                yield cast(T, item)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None and not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(close(), self._loop)

    def stop(self) -> None:
        """Ends whatever still runs over there, then the thread."""
        asyncio.run_coroutine_threadsafe(_end_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


_END = object()


async def _next(items: AsyncIterator[T]) -> T | object:
    return await anext(items, _END)


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        # One that is ending already is left to it: a second cancellation would end its clearing up.
        if not task.cancelling():
            task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def proxy_to_thread(client: T, thread: LoopThread) -> T:
    """The same client, for callers on any loop; progress is told on ``thread``."""
    return cast(T, _ThreadProxy(client, thread))


class _ThreadProxy:
    """Every method of a client either answers once or brings one thing after the other."""

    def __init__(self, client: object, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            begun = method(*arguments, **named)  # nothing runs yet
            if isinstance(begun, AsyncIterator):
                return self._thread.iterate(begun)
            return self._thread.call(begun)

        return call
