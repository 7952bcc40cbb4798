"""Test `run_cancellable`: a cancelled caller waits until the work in the thread has stopped."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from tests.support.limits import TIMEOUT

LOOP_ITERATIONS = 20
"""More iterations of the event loop than a cancellation needs to propagate."""


def test_run_cancellable_returns_or_raises() -> None:
    def fail(_: CheckCancelled) -> None:
        raise ValueError("no")

    assert asyncio.run(run_cancellable(lambda _: 7)) == 7
    with pytest.raises(ValueError, match="no"):
        asyncio.run(run_cancellable(fail))


def test_cancellation_waits_until_work_stops() -> None:
    started, in_use = threading.Event(), threading.Event()

    def work(check_cancelled: CheckCancelled) -> None:
        in_use.set()
        started.set()
        try:
            while True:
                check_cancelled(1)
        finally:
            in_use.clear()

    async def main() -> None:
        call = asyncio.create_task(run_cancellable(work))
        assert await asyncio.to_thread(started.wait, TIMEOUT)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not in_use.is_set()

    asyncio.run(main())


def test_repeated_cancellation_waits_for_work() -> None:
    started, release, finished = threading.Event(), threading.Event(), threading.Event()

    def work(_: CheckCancelled) -> None:
        started.set()
        release.wait(TIMEOUT)
        finished.set()

    async def main() -> None:
        call = asyncio.create_task(run_cancellable(work))
        assert await asyncio.to_thread(started.wait, TIMEOUT)
        for _ in range(3):
            call.cancel()
            for _ in range(LOOP_ITERATIONS):
                await asyncio.sleep(0)
        assert not call.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert finished.is_set()

    asyncio.run(main())


def test_cancelling_all_tasks_waits_for_work() -> None:
    started, release, finished = threading.Event(), threading.Event(), threading.Event()

    def work(_: CheckCancelled) -> None:
        started.set()
        release.wait(TIMEOUT)
        finished.set()

    async def main() -> None:
        call = asyncio.create_task(run_cancellable(work))
        assert await asyncio.to_thread(started.wait, TIMEOUT)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for _ in range(LOOP_ITERATIONS):
            await asyncio.sleep(0)
        assert not call.done()
        release.set()
        await asyncio.wait({call})
        assert finished.is_set()

    asyncio.run(main())


def test_error_of_cancelled_work_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    started = threading.Event()

    def work(check_cancelled: CheckCancelled) -> None:
        started.set()
        while True:
            check_cancelled(1)

    async def main() -> None:
        call = asyncio.create_task(run_cancellable(work))
        assert await asyncio.to_thread(started.wait, TIMEOUT)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())
    gc.collect()
    assert caplog.records == []
