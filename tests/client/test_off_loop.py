"""Work in a thread: cancelled when its caller is, and never left behind with its files."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sealyard.client.off_loop import GoOn, off_loop


def test_it_gives_back_what_the_work_returns_or_raises() -> None:
    def fail(_: GoOn) -> None:
        raise ValueError("no")

    assert asyncio.run(off_loop(lambda _: 7)) == 7
    with pytest.raises(ValueError, match="no"):
        asyncio.run(off_loop(fail))


def test_a_cancellation_stops_the_work_and_waits_until_it_let_go() -> None:
    begun, held = threading.Event(), threading.Event()

    def work(go_on: GoOn) -> None:
        held.set()
        begun.set()
        try:
            while True:
                go_on(1)
        finally:
            held.clear()

    async def main() -> None:
        running = asyncio.create_task(off_loop(work))
        await asyncio.to_thread(begun.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not held.is_set()

    asyncio.run(main())
