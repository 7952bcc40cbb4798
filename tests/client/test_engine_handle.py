"""A client on a thread of its own answers whoever asks from another loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, cast

import pytest

from sealyard.client.protocol import Client
from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.model.errors import NotFoundError

LIMIT = 10.0


class Double:
    """Answers with the thread that it is asked on."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.begun = threading.Event()

    async def task(self, task_id: str) -> Any:
        if task_id == "none":
            raise NotFoundError("Task none not found.")
        return threading.current_thread().name

    async def counts(self) -> Any:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def download(self, task_id: str, *, offset: int = 0) -> AsyncIterator[Any]:
        for number in range(offset, 3):
            yield number, threading.current_thread().name


class ThreadName:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return threading.current_thread().name


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread("the other one")
    yield made
    made.stop()


def test_each_call_is_done_over_there_and_answered_here(thread: LoopThread) -> None:
    async def asked() -> Any:
        client = proxy_to_thread(cast(Client, Double()), thread)
        found = [await client.task("t"), [each async for each in client.download("t", offset=1)]]
        with pytest.raises(NotFoundError):
            await client.task("none")
        return found

    assert asyncio.run(asked()) == ["the other one", [(1, "the other one"), (2, "the other one")]]


def test_who_does_not_wait_any_more_ends_the_call_over_there(thread: LoopThread) -> None:
    double = Double()

    async def asked() -> None:
        waiting = asyncio.create_task(proxy_to_thread(cast(Client, double), thread).counts())
        assert await asyncio.to_thread(double.begun.wait, LIMIT)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(asked())
    assert double.cancelled.wait(LIMIT)


def test_loop_thread_runs_awaitables_that_are_no_coroutines(thread: LoopThread) -> None:
    async def call() -> str:
        return await thread.call(ThreadName())

    assert asyncio.run(asyncio.wait_for(call(), LIMIT)) == "the other one"
