"""Events from a server: none is missed and none comes twice, however often the line breaks."""

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
from tests.support.ports import ReservedPort
from tests.support.scripted_server import Exchange, ScriptedServer, client_of, serving, task

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _changed(cursor: int, task_id: str = "t1", status: TaskStatus = TaskStatus.RUNNING) -> TaskChanged:
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


class Journal:
    """Tells durable events from a cursor on, as many as ``lines`` says for each connection, then cuts it."""

    def __init__(self, *lines: int, begins: int = 0) -> None:
        self.events: list[Event] = []
        self.begins = begins
        self.lines = list(lines)
        self.asked: list[str | None] = []

    async def __call__(self, exchange: Exchange) -> None:
        asked = exchange.query.get("after")
        self.asked.append(asked)
        after = self.begins if asked is None else int(asked)
        await exchange.begin(headers={"Content-Type": "text/event-stream"})
        await exchange.send(f"id: {after}\nevent: Cursor\ndata: {{}}\n\n: beat\n\n".encode())
        most = self.lines.pop(0) if self.lines else None
        for event in [each for each in self.events if each.cursor > after][:most]:
            await exchange.send(_written(event))
        if most is not None:
            exchange.cut()
            return
        await asyncio.sleep(3600)


def _written(event: Event) -> bytes:
    durable = "" if isinstance(event, TaskProgressed) else f"id: {event.cursor}\n"
    return f"{durable}event: {type(event).__name__}\ndata: {msgspec.json.encode(event).decode()}\n\n".encode()


async def _take(client: HttpClient, count: int, after: int | None = None) -> list[Event]:
    events = client.events(after)
    try:
        async with asyncio.timeout(20):
            return [await anext(events) for _ in range(count)]
    finally:
        await events.aclose()


def _run(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


def test_events_miss_nothing_and_repeat_nothing_over_reconnects() -> None:
    journal = Journal(1, 0, 3, 0, 0, 2)
    journal.events = [_changed(each) for each in range(1, 11)]

    async def work() -> None:
        async with serving(journal) as (_, client):
            assert await _take(client, 10, after=0) == journal.events
            assert journal.asked == ["0", "1", "1", "4", "4", "4", "6"]

    _run(work)


def test_from_now_on_means_from_the_first_connection_on() -> None:
    journal = Journal(0, 0, begins=5)

    class LateClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            """What happens between two connections."""
            journal.events.append(_changed(6 + len(self.slept)))
            journal.begins = 7
            await super().sleep(seconds)

    async def work() -> None:
        async with serving(journal, clock=LateClock()) as (_, client):
            assert [each.cursor for each in await _take(client, 2)] == [6, 7]
            assert journal.asked == [None, "5", "5"]

    _run(work)


def test_progress_is_told_and_moves_no_cursor() -> None:
    progress = TaskProgressed(cursor=3, task_id="t1", bytes_done=1, bytes_total=2)
    journal = Journal(1)
    journal.events = [progress, _changed(4)]

    async def work() -> None:
        async with serving(journal) as (_, client):
            assert await _take(client, 3, after=0) == [progress, progress, _changed(4)]
            assert journal.asked == ["0", "0"]

    _run(work)


def test_a_gap_is_told_and_the_events_go_on_behind_it() -> None:
    journal = Journal(1)
    journal.events = [EventsMissed(cursor=90), _changed(91)]

    async def work() -> None:
        async with serving(journal) as (_, client):
            assert await _take(client, 2, after=1) == journal.events
            assert journal.asked == ["1", "90"]

    _run(work)


def test_events_outlast_a_server_that_is_away_longer_than_patience() -> None:
    journal = Journal()
    journal.events = [_changed(1)]
    server = ScriptedServer(journal)

    class RestartingClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if self.now() > NOW and sum(self.slept) > 600 and not server.port:
                await server.start(port=port.number)

    async def work() -> None:
        client = client_of(f"http://127.0.0.1:{port.number}", clock=RestartingClock(), retry_timeout=60.0)
        assert await _take(client, 1, after=0) == [_changed(1)]
        assert client.monitor.status.is_connected

    with ReservedPort() as port:
        _run(work)


def test_events_end_for_whoever_may_no_longer_ask() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.refuse(401, "unauthenticated")

    async def work() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(AuthenticationError):
                await _take(client, 1)
            assert len(server.calls) == 1

    _run(work)


class Factory:
    """One task that moves on each time its events are listened to; nothing is told of what was before."""

    def __init__(self, *statuses: TaskStatus) -> None:
        self.statuses = list(statuses)
        self.cursor = 0
        self.listened = 0

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path != "/events":
            await exchange.answer(task(status=self.statuses[0]))
            return
        self.listened += 1
        after = int(exchange.query.get("after", self.cursor))
        await exchange.begin(headers={"Content-Type": "text/event-stream"})
        await exchange.send(f"id: {after}\nevent: Cursor\ndata: {{}}\n\n".encode())
        if "after" not in exchange.query:
            await asyncio.sleep(3600)
        await exchange.send(_written(_changed(self.cursor + 1, "another")))
        if len(self.statuses) > 1:
            self.cursor += 2
            del self.statuses[0]
            await exchange.send(_written(_changed(self.cursor, status=self.statuses[0])))
        exchange.cut()


def test_waiting_holds_nothing_but_a_cursor_and_ends_with_the_task() -> None:
    factory = Factory(TaskStatus.WAITING, TaskStatus.SCHEDULED, TaskStatus.RUNNING, TaskStatus.DONE)

    async def work() -> None:
        async with serving(factory) as (_, client):
            assert (await client.wait("t1", within=20)).status is TaskStatus.DONE
            assert factory.listened == 4

    _run(work)


def test_a_task_that_waits_for_people_is_settled() -> None:
    factory = Factory(TaskStatus.CREATED, TaskStatus.WAITING, TaskStatus.DONE)

    async def work() -> None:
        async with serving(factory) as (_, client):
            assert (await client.wait("t1", within=20, or_waiting=True)).status is TaskStatus.WAITING

    _run(work)


def test_waiting_ends_when_its_time_is_over() -> None:
    async def work() -> None:
        async with serving(Factory(TaskStatus.WAITING)) as (_, client):
            with pytest.raises(WaitTimeoutError):
                await client.wait("t1", within=0.3)

    _run(work)
