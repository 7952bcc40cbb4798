"""Work in threads goes to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sealyard.concurrency.threads import run_uncancellable

LIMIT = 30.0


def test_who_waits_for_a_thread_is_let_go_only_when_it_has_ended_however_often_they_are_cancelled() -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        begun.set()
        ended.append(go_on.wait(LIMIT))

    async def main() -> None:
        waiting = asyncio.create_task(run_uncancellable(work))
        await asyncio.to_thread(begun.wait, LIMIT)
        for _ in range(3):
            waiting.cancel()
            await asyncio.sleep(0)
        # As a loop's end does it: all tasks there are.
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended == [True]

    asyncio.run(main())
