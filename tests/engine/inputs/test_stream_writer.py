"""Test that work in a thread completes although its caller is cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sealyard.concurrency.threads import run_uncancellable
from tests.support.limits import TIMEOUT


def test_run_uncancellable_waits_for_thread_despite_cancellation() -> None:
    started, release = threading.Event(), threading.Event()
    results: list[bool] = []

    def work() -> None:
        started.set()
        results.append(release.wait(TIMEOUT))

    async def main() -> None:
        call = asyncio.create_task(run_uncancellable(work))
        await asyncio.to_thread(started.wait, TIMEOUT)
        for _ in range(3):
            call.cancel()
            await asyncio.sleep(0)
        # Cancel all tasks, as asyncio.run does at its end.
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.sleep(0)
        assert not call.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert results == [True]

    asyncio.run(main())
