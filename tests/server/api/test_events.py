"""Events through a real server: from a cursor on, for whom they are, and for as long as one is somebody."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest
from httpx_sse import aconnect_sse

from sealyard.client.http.sse import Comment, ServerSentEvent, parse_events
from sealyard.engine.state import events as broadcasting
from sealyard.model.errors import AuthenticationError
from sealyard.model.events import TaskProgressed, WorkspaceChanged
from sealyard.server.api.routes import events as routes
from sealyard.server.api.routes.events import format_sse
from sealyard.server.auth.caller import Caller
from tests.support.server_harness import ADMIN, DEV, DONE_WITHIN, GATEWAY, OWNER, STRANGER, ServerHarness, run_server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def yard(folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}) as yard:
        yield yard


class Listening:
    """``begins``: the cursor that the stream said it begins from."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._items = parse_events(answer.aiter_raw())
        self.begins = 0

    async def begin(self) -> None:
        first = await self.next()
        assert isinstance(first, ServerSentEvent)
        assert (first.event, msgspec.json.decode(first.data)) == ("Cursor", {"cursor": int(first.id)})
        self.begins = int(first.id)

    async def next(self) -> ServerSentEvent | Comment:
        async with asyncio.timeout(DONE_WITHIN):
            return await anext(self._items)

    async def event(self) -> tuple[str, str, Any]:
        """Name, id and data of the next."""
        while not isinstance(item := await self.next(), ServerSentEvent):
            pass
        return item.event, item.id, msgspec.json.decode(item.data)

    async def rest(self) -> list[ServerSentEvent | Comment]:
        async with asyncio.timeout(DONE_WITHIN):
            return [each async for each in self._items]


@asynccontextmanager
async def listening(calls: httpx.AsyncClient, **how: Any) -> AsyncIterator[Listening]:
    async with calls.stream("GET", "/api/v1/events", **how) as answer:
        assert answer.status_code == 200, await answer.aread()
        heard = Listening(answer)
        await heard.begin()
        yield heard


async def asked(calls: httpx.AsyncClient) -> str:
    """A signing task: it waits for approval."""
    body = {"deviceConfigId": GATEWAY, "inputBase64": base64.b64encode(b"hello").decode()}
    answer = await calls.post("/api/v1/signingTask", json=body)
    return str(answer.json()["id"])


async def test_events_come_as_they_happen_each_with_its_cursor(yard: ServerHarness) -> None:
    dev, owner = await yard.http_client(DEV), await yard.http_client(OWNER)
    async with listening(owner) as heard:
        assert heard.answer.headers["Content-Type"].startswith("text/event-stream")
        assert heard.answer.headers["Cache-Control"] == "no-store"
        task_id = await asked(dev)
        name, cursor, data = await heard.event()
        assert (name, int(cursor)) == ("TaskChanged", heard.begins + 1)
        assert (data["type"], data["taskId"], data["cursor"]) == ("TaskChanged", task_id, heard.begins + 1)


async def test_whoever_was_away_goes_on_behind_the_last_event(yard: ServerHarness) -> None:
    dev = await yard.http_client(DEV)
    async with listening(dev) as heard:
        begins = heard.begins
    ids = [await asked(dev) for _ in range(3)]
    whole: list[tuple[str, str, Any]] = []
    async with listening(dev, params={"after": begins}) as heard:
        while not whole or whole[-1][2].get("taskId") != ids[-1]:
            whole.append(await heard.event())
    assert [int(each[1]) for each in whole] == list(range(begins + 1, begins + 1 + len(whole)))
    for position in range(1, len(whole)):
        async with listening(dev, headers={"Last-Event-ID": whole[position - 1][1]}) as heard:
            assert heard.begins == int(whole[position - 1][1])
            assert await heard.event() == whole[position]


async def test_empty_last_event_id_starts_at_current_end(yard: ServerHarness) -> None:
    dev = await yard.http_client(DEV)
    await asked(dev)
    async with listening(dev, headers={"Last-Event-ID": ""}) as heard:
        assert heard.begins == await yard.engine.client(ADMIN).cursor()


@pytest.mark.parametrize("event_id", ["x", "-1", "٣", "1e3", "9" * 30])
async def test_invalid_last_event_id_is_rejected(yard: ServerHarness, event_id: str) -> None:
    dev = await yard.http_client(DEV)
    answer = await dev.get("/api/v1/events", headers=[(b"Last-Event-ID", event_id.encode())])
    assert (answer.status_code, answer.json()["detail"]) == (400, "Invalid Last-Event-ID.")


async def test_nobody_hears_of_what_is_not_for_them(yard: ServerHarness) -> None:
    dev, stranger = await yard.http_client(DEV), await yard.http_client(STRANGER)
    async with listening(stranger) as heard, listening(dev) as own:
        task_id = await asked(dev)
        await yard.engine.client(ADMIN).add_subject("USER:somebody")
        assert (await own.event())[2]["taskId"] == task_id
        name, _, data = await heard.event()
        assert name == "WorkspaceChanged"
        assert task_id not in str(data)


async def test_whoever_missed_too_much_is_told_of_a_gap(yard: ServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasting, "QUEUE_SIZE", 2)
    dev = await yard.http_client(DEV)
    for _ in range(3):
        await asked(dev)
    newest = await yard.engine.client(ADMIN).cursor()
    async with listening(dev, params={"after": 0}) as heard:
        assert await heard.event() == ("EventsMissed", str(newest), {"type": "EventsMissed", "cursor": newest})
        await asked(dev)
        assert (await heard.event())[1] == str(newest + 1)


def test_progress_has_no_id_to_go_on_behind() -> None:
    progress = TaskProgressed(cursor=7, task_id="a", bytes_done=1, bytes_total=2, eta_seconds=None)
    assert format_sse(progress).startswith("event: TaskProgressed\ndata: {")
    assert format_sse(progress).endswith("}\n\n")


async def test_while_all_is_quiet_there_is_a_beat(yard: ServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 0.05)
    async with listening(await yard.http_client(DEV)) as heard:
        assert [await heard.next() for _ in range(3)] == [Comment(text="keepalive")] * 3


async def test_the_stream_ends_when_the_token_is_revoked(yard: ServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 0.1)
    calls, admin = await yard.http_client(DEV), yard.engine.client(ADMIN)
    async with listening(calls) as heard:
        for token in await yard.engine.client(DEV).tokens():
            await admin.revoke_token(token.id)
        await heard.rest()
    assert (await calls.get("/api/v1/events")).status_code == 401


async def test_a_stream_that_is_never_quiet_ends_then_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 0.1)

    class Busy:
        async def events(self, after: int) -> AsyncIterator[WorkspaceChanged]:
            while True:
                after += 1
                yield WorkspaceChanged(cursor=after, at=datetime.now(UTC), resource="ACL")
                await asyncio.sleep(0)

    async def revoked() -> None:
        raise AuthenticationError("The token is not valid here.")

    nothing = cast(Any, None)
    caller = Caller(
        tenant="", engine_handle=nothing, subject=DEV, client=cast(Any, Busy()), max_body_bytes=0, revalidate=revoked
    )
    async with asyncio.timeout(DONE_WITHIN):
        told = [each async for each in routes.stream_events(caller, 0)]
    assert len(told) > 2


async def test_a_cursor_that_is_none_is_refused(yard: ServerHarness) -> None:
    dev = await yard.http_client(DEV)
    for nonsense in ("-1", "x", str(2**60)):
        assert (await dev.get("/api/v1/events", params={"after": nonsense})).status_code == 400
    assert (await yard.anonymous_client().get("/api/v1/events")).status_code == 401


async def test_httpx_sse_reads_the_events(yard: ServerHarness) -> None:
    dev = await yard.http_client(DEV)
    async with listening(dev) as heard:
        begins = heard.begins
    task_id = await asked(dev)
    async with (
        asyncio.timeout(DONE_WITHIN),
        aconnect_sse(dev, "GET", "/api/v1/events", headers={"Last-Event-ID": str(begins)}) as source,
    ):
        event = await anext(item async for item in source.aiter_sse() if item.event == "TaskChanged")
    assert event.id == str(begins + 1)
    assert event.json()["taskId"] == task_id
