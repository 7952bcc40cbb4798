"""Work in a thread: cancelled when its caller is, and never left behind with its files."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from sealyard.concurrency.threads import CheckCancelled, run_cancellable

LIMIT = 30.0
TURNS = 20
"""Of the loop: more than a cancellation needs to go all its ways."""


def test_it_gives_back_what_the_work_returns_or_raises() -> None:
    def fail(_: CheckCancelled) -> None:
        raise ValueError("no")

    assert asyncio.run(run_cancellable(lambda _: 7)) == 7
    with pytest.raises(ValueError, match="no"):
        asyncio.run(run_cancellable(fail))


def test_a_cancellation_stops_the_work_and_waits_until_it_let_go() -> None:
    begun, held = threading.Event(), threading.Event()

    def work(go_on: CheckCancelled) -> None:
        held.set()
        begun.set()
        try:
            while True:
                go_on(1)
        finally:
            held.clear()

    async def main() -> None:
        running = asyncio.create_task(run_cancellable(work))
        await asyncio.to_thread(begun.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not held.is_set()

    asyncio.run(main())


def test_however_often_it_is_cancelled_the_work_has_ended_first() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work(_: CheckCancelled) -> None:
        begun.set()
        may_end.wait(LIMIT)
        ended.set()

    async def main() -> None:
        running = asyncio.create_task(run_cancellable(work))
        await asyncio.to_thread(begun.wait)
        for _ in range(3):
            running.cancel()
            for _ in range(TURNS):
                await asyncio.sleep(0)
        assert not running.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert ended.is_set()

    asyncio.run(main())


def test_who_cancels_all_tasks_of_the_loop_waits_for_the_work_too() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work(_: CheckCancelled) -> None:
        begun.set()
        may_end.wait(LIMIT)
        ended.set()

    async def main() -> None:
        running = asyncio.create_task(run_cancellable(work))
        await asyncio.to_thread(begun.wait)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not running.done()
        may_end.set()
        await asyncio.wait({running})
        assert ended.is_set()

    asyncio.run(main())


def test_work_that_fails_once_nobody_wants_it_is_not_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    begun = threading.Event()

    def work(go_on: CheckCancelled) -> None:
        begun.set()
        while True:
            go_on(1)

    async def main() -> None:
        running = asyncio.create_task(run_cancellable(work))
        await asyncio.to_thread(begun.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    gc.collect()
    assert caplog.records == []
