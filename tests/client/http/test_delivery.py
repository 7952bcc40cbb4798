"""Test what is known about a change that waits for a lost connection, and that it can be cancelled for certain."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.client.delivery import track_delivery
from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.model.access import Action
from tests.support.fake_client import FakeClock
from tests.support.ports import ReservedPort
from tests.support.scripted_server import INFO, ME, Exchange, ScriptedServer, client_of, serving, task


class PausingClock(FakeClock):
    """A clock whose pauses last until :attr:`resume` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = asyncio.Event()
        self.resume = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.paused.set()
        await self.resume.wait()
        await super().sleep(seconds)


def test_change_cancelled_before_sending_is_never_sent() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.answer(task("t"), 200)

    async def run(port: int) -> None:
        server, clock = ScriptedServer(handler), PausingClock()
        client = client_of(f"http://127.0.0.1:{port}", clock=clock)
        with track_delivery() as delivery:
            call = asyncio.create_task(client.withdraw("t", "a mistake"))
            await clock.paused.wait()
            assert delivery.cancel() is False
        await server.start(port=port)
        clock.resume.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert server.calls == []
        server.stop()

    with ReservedPort() as port:
        asyncio.run(run(port.number))


def test_change_with_lost_response_may_have_arrived() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.cut()

    async def run() -> None:
        clock = PausingClock()
        async with serving(handler, clock=clock) as (server, client):
            with track_delivery() as delivery:
                call = asyncio.create_task(client.withdraw("t", "a mistake"))
                await clock.paused.wait()
                assert delivery.cancel() is True
                server.handler = lambda exchange: exchange.answer(INFO if exchange.path == "/workspace" else task("t"))
                clock.resume.set()
                with pytest.raises(asyncio.CancelledError):
                    await call
            assert server.calls.count("POST /task/t/withdrawal") == 1

    asyncio.run(run())


def test_change_that_server_postpones_has_not_arrived() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.refuse(503, "workspace-held", headers={"Retry-After": "7"})

    async def run() -> None:
        clock = PausingClock()
        async with serving(handler, clock=clock) as (_, client):
            with track_delivery() as delivery:
                call = asyncio.create_task(client.add_rule(ME, "RESOURCE_TYPE:KEY", Action.VIEW))
                await clock.paused.wait()
                assert delivery.cancel() is False
            call.cancel()

    asyncio.run(run())


def test_change_is_tracked_across_threads() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.answer(task("t"), 200)

    async def run() -> None:
        thread = LoopThread("test")
        async with serving(handler) as (server, _):
            client = proxy_to_thread(client_of(server.url), thread)
            with track_delivery() as delivery:
                await client.withdraw("t", "a mistake")
                assert delivery.may_have_arrived
                delivery.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await client.withdraw("t", "a mistake")
            assert server.calls == ["POST /task/t/withdrawal"]
            await client.close()
        await asyncio.to_thread(thread.stop)

    asyncio.run(run())
