"""Test calls to a client that runs on the loop of another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, cast

import pytest

from sealyard.client.protocol import Client
from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.model.errors import NotFoundError
from tests.support.limits import TIMEOUT


class FakeTaskClient:
    """Returns the name of the thread that runs the call."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.started = threading.Event()

    async def task(self, task_id: str) -> Any:
        if task_id == "none":
            raise NotFoundError("Task none not found.")
        return threading.current_thread().name

    async def counts(self) -> Any:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def download(self, task_id: str, *, offset: int = 0) -> AsyncIterator[Any]:
        for number in range(offset, 3):
            yield number, threading.current_thread().name


class ThreadName:
    """An awaitable that is not a coroutine."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return threading.current_thread().name


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    loop_thread = LoopThread("client-thread")
    yield loop_thread
    loop_thread.stop()


def test_proxy_runs_calls_on_loop_thread(thread: LoopThread) -> None:
    async def call_client() -> Any:
        client = proxy_to_thread(cast(Client, FakeTaskClient()), thread)
        results = [await client.task("t"), [each async for each in client.download("t", offset=1)]]
        with pytest.raises(NotFoundError):
            await client.task("none")
        return results

    assert asyncio.run(call_client()) == ["client-thread", [(1, "client-thread"), (2, "client-thread")]]


def test_cancelled_call_is_cancelled_on_thread(thread: LoopThread) -> None:
    client = FakeTaskClient()

    async def call_client() -> None:
        waiting = asyncio.create_task(proxy_to_thread(cast(Client, client), thread).counts())
        assert await asyncio.to_thread(client.started.wait, TIMEOUT)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(call_client())
    assert client.cancelled.wait(TIMEOUT)


def test_loop_thread_runs_plain_awaitables(thread: LoopThread) -> None:
    async def call() -> str:
        return await thread.call(ThreadName())

    assert asyncio.run(asyncio.wait_for(call(), TIMEOUT)) == "client-thread"
