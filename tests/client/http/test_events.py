"""Test the events of a server: none is lost or repeated when the connection breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import pytest

from sealyard.client.http.client import HttpClient
from sealyard.model.errors import AuthenticationError, WaitTimeoutError
from sealyard.model.events import Event, EventsMissed, TaskChanged, TaskProgressed
from sealyard.model.tasks import TaskKind, TaskStatus
from tests.support.fake_client import FakeClock
from tests.support.limits import TIMEOUT
from tests.support.ports import ReservedPort
from tests.support.scripted_server import Exchange, ScriptedServer, client_of, serving, task

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _build_change(cursor: int, task_id: str = "t1", status: TaskStatus = TaskStatus.RUNNING) -> TaskChanged:
    return TaskChanged(
        cursor=cursor,
        at=NOW,
        task_id=task_id,
        kind=TaskKind.PACKAGING,
        status=status,
        name="",
        config_id="c",
        created_by="USER:dev",
    )


class EventServer:
    """Sends durable events after a cursor. ``limits``: the events to send on each connection before it is cut."""

    def __init__(self, *limits: int, first_cursor: int = 0) -> None:
        self.events: list[Event] = []
        self.first_cursor = first_cursor
        self.limits = list(limits)
        self.requested: list[str | None] = []

    async def __call__(self, exchange: Exchange) -> None:
        requested = exchange.query.get("after")
        self.requested.append(requested)
        after = self.first_cursor if requested is None else int(requested)
        await exchange.begin(headers={"Content-Type": "text/event-stream"})
        await exchange.send(f"id: {after}\nevent: Cursor\ndata: {{}}\n\n: beat\n\n".encode())
        limit = self.limits.pop(0) if self.limits else None
        for event in [each for each in self.events if each.cursor > after][:limit]:
            await exchange.send(_encode_event(event))
        if limit is not None:
            exchange.cut()
            return
        await asyncio.sleep(3600)


def _encode_event(event: Event) -> bytes:
    durable = "" if isinstance(event, TaskProgressed) else f"id: {event.cursor}\n"
    return f"{durable}event: {type(event).__name__}\ndata: {msgspec.json.encode(event).decode()}\n\n".encode()


async def _take_events(client: HttpClient, count: int, after: int | None = None) -> list[Event]:
    events = client.events(after)
    try:
        async with asyncio.timeout(TIMEOUT):
            return [await anext(events) for _ in range(count)]
    finally:
        await events.aclose()


def _run(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


def test_reconnects_neither_lose_nor_repeat_events() -> None:
    event_server = EventServer(1, 0, 3, 0, 0, 2)
    event_server.events = [_build_change(each) for each in range(1, 11)]

    async def work() -> None:
        async with serving(event_server) as (_, client):
            assert await _take_events(client, 10, after=0) == event_server.events
            assert event_server.requested == ["0", "1", "1", "4", "4", "4", "6"]

    _run(work)


def test_events_start_at_first_connection() -> None:
    event_server = EventServer(0, 0, first_cursor=5)

    class LateClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            """Add an event between two connections."""
            event_server.events.append(_build_change(6 + len(self.slept)))
            event_server.first_cursor = 7
            await super().sleep(seconds)

    async def work() -> None:
        async with serving(event_server, clock=LateClock()) as (_, client):
            assert [each.cursor for each in await _take_events(client, 2)] == [6, 7]
            assert event_server.requested == [None, "5", "5"]

    _run(work)


def test_progress_event_keeps_cursor() -> None:
    progress = TaskProgressed(cursor=3, task_id="t1", bytes_done=1, bytes_total=2)
    event_server = EventServer(1)
    event_server.events = [progress, _build_change(4)]

    async def work() -> None:
        async with serving(event_server) as (_, client):
            assert await _take_events(client, 3, after=0) == [progress, progress, _build_change(4)]
            assert event_server.requested == ["0", "0"]

    _run(work)


def test_missed_events_are_reported() -> None:
    event_server = EventServer(1)
    event_server.events = [EventsMissed(cursor=90), _build_change(91)]

    async def work() -> None:
        async with serving(event_server) as (_, client):
            assert await _take_events(client, 2, after=1) == event_server.events
            assert event_server.requested == ["1", "90"]

    _run(work)


def test_events_survive_outage_beyond_retry_timeout() -> None:
    event_server = EventServer()
    event_server.events = [_build_change(1)]
    server = ScriptedServer(event_server)

    class RestartingClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if self.now() > NOW and sum(self.slept) > 600 and not server.port:
                await server.start(port=port.number)

    async def work() -> None:
        client = client_of(f"http://127.0.0.1:{port.number}", clock=RestartingClock(), retry_timeout=60.0)
        assert await _take_events(client, 1, after=0) == [_build_change(1)]
        assert client.monitor.status.is_connected

    with ReservedPort() as port:
        _run(work)


def test_authentication_error_ends_events() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.refuse(401, "unauthenticated")

    async def work() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(AuthenticationError):
                await _take_events(client, 1)
            assert len(server.calls) == 1

    _run(work)


class TaskServer:
    """Serves one task. Its status advances on each event connection that has a cursor."""

    def __init__(self, *statuses: TaskStatus) -> None:
        self.statuses = list(statuses)
        self.cursor = 0
        self.connections = 0

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path != "/events":
            await exchange.answer(task(status=self.statuses[0]))
            return
        self.connections += 1
        after = int(exchange.query.get("after", self.cursor))
        await exchange.begin(headers={"Content-Type": "text/event-stream"})
        await exchange.send(f"id: {after}\nevent: Cursor\ndata: {{}}\n\n".encode())
        if "after" not in exchange.query:
            await asyncio.sleep(3600)
        await exchange.send(_encode_event(_build_change(self.cursor + 1, "another")))
        if len(self.statuses) > 1:
            self.cursor += 2
            del self.statuses[0]
            await exchange.send(_encode_event(_build_change(self.cursor, status=self.statuses[0])))
        exchange.cut()


def test_wait_ends_with_task() -> None:
    task_server = TaskServer(TaskStatus.WAITING, TaskStatus.SCHEDULED, TaskStatus.RUNNING, TaskStatus.DONE)

    async def work() -> None:
        async with serving(task_server) as (_, client):
            assert (await client.wait("t1", within=TIMEOUT)).status is TaskStatus.DONE
            assert task_server.connections == 4

    _run(work)


def test_wait_returns_task_awaiting_approval() -> None:
    task_server = TaskServer(TaskStatus.CREATED, TaskStatus.WAITING, TaskStatus.DONE)

    async def work() -> None:
        async with serving(task_server) as (_, client):
            assert (await client.wait("t1", within=TIMEOUT, or_waiting=True)).status is TaskStatus.WAITING

    _run(work)


def test_wait_raises_after_timeout() -> None:
    async def work() -> None:
        async with serving(TaskServer(TaskStatus.WAITING)) as (_, client):
            with pytest.raises(WaitTimeoutError):
                await client.wait("t1", within=0.3)

    _run(work)
