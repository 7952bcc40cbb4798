"""An event loop in a thread of its own, and a proxy that calls a client on it from any other event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


class LoopThread:
    """Runs an event loop in a daemon thread, which does not keep the process alive."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Awaitable[T]) -> T:
        """Run ``work`` on the thread's loop and return its result. Cancelling the caller cancels ``work``."""
        return await self.submit(work)

    def submit(self, work: Awaitable[T]) -> asyncio.Future[T]:
        """Start ``work`` on the thread's loop, and return a future of the caller's loop for the result of ``work``."""
        # Do not wrap a coroutine: if the wrapper were cancelled before it starts, the coroutine would never be awaited.
        coroutine: Coroutine[Any, Any, T] = work if isinstance(work, Coroutine) else _to_coroutine(work)
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def iterate(self, iterator: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield the items of an iterator that runs on the thread's loop, with one call into the thread for each item.

        When the iteration ends or is abandoned, the iterator is closed on the thread's loop.
        """
        try:
            while (item := await self.call(_next_item(iterator))) is not _END:
                yield cast(T, item)
        finally:
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None and not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(aclose(), self._loop)

    def stop(self) -> None:
        """Cancel all tasks on the thread's loop, wait for them to end, then stop the thread and close the loop."""
        asyncio.run_coroutine_threadsafe(_cancel_all_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


async def _to_coroutine(work: Awaitable[T]) -> T:
    return await work


_END = object()


async def _next_item(iterator: AsyncIterator[T]) -> T | object:
    return await anext(iterator, _END)


async def _cancel_all_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        # A task that is being cancelled already may be cleaning up; a second cancellation would interrupt the cleanup.
        if not task.cancelling():
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def wait_for_other_tasks() -> None:
    """Wait until all other tasks of the current loop have ended, without cancelling them."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*tasks, return_exceptions=True)


def proxy_to_thread(client: T, thread: LoopThread) -> T:
    """Return a proxy that runs the methods of ``client`` on ``thread`` and can be called from any event loop.

    Progress callbacks are called on ``thread``.
    """
    return cast(T, _ThreadProxy(client, thread))


class _ThreadProxy:
    """Forwards method calls to a client on another thread.

    Every method of the client must be a coroutine function or return an async iterator.
    """

    def __init__(self, client: object, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)  # a coroutine or an async iterator: the method body has not started yet
            if isinstance(result, AsyncIterator):
                return self._thread.iterate(result)
            return self._thread.call(result)

        return call
