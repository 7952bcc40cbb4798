"""Tests of timeouts that do not count the time of a suspended process."""

from __future__ import annotations

import asyncio
import time

import pytest

from sealyard.concurrency.active_time import wait_active

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_done_future_returns_at_once() -> None:
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    assert await wait_active(future, 1000)


async def test_timeout_keeps_the_future() -> None:
    future = asyncio.get_running_loop().create_future()
    started_at = time.monotonic()
    assert not await wait_active(future, 0.1)
    assert time.monotonic() - started_at >= 0.09
    assert not future.cancelled()


async def test_time_of_a_suspension_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    real_wait = asyncio.wait
    waits = 0

    async def wait_and_jump(futures: set[asyncio.Future[None]], timeout: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            time_before = loop.time
            monkeypatch.setattr(loop, "time", lambda: time_before() + 3600)
        elif waits == 3:
            future.set_result(None)
        await real_wait(futures, timeout=timeout)

    monkeypatch.setattr(asyncio, "wait", wait_and_jump)
    assert await wait_active(future, 0.2)
