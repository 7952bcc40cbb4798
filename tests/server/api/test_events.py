"""Tests of the event stream: cursors, visibility, keepalives and token revocation."""

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
from sealyard.engine.state import events as engine_events
from sealyard.model.access import SubjectState
from sealyard.model.errors import AuthenticationError
from sealyard.model.events import TaskProgressed, WorkspaceChanged
from sealyard.server.api.routes import events as routes
from sealyard.server.api.routes.events import format_sse
from sealyard.server.auth.caller import Caller
from tests.support.limits import TIMEOUT
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, STRANGER, ServerHarness, run_server

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}) as harness:
        yield harness


class EventStream:
    """The event stream of one response. ``start`` is the cursor that the server sent first."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._items = parse_events(response.aiter_raw())
        self.start = 0

    async def read_cursor(self) -> None:
        first = await self.next()
        assert isinstance(first, ServerSentEvent)
        assert (first.event, msgspec.json.decode(first.data)) == ("Cursor", {"cursor": int(first.id)})
        self.start = int(first.id)

    async def next(self) -> ServerSentEvent | Comment:
        async with asyncio.timeout(TIMEOUT):
            return await anext(self._items)

    async def next_event(self) -> tuple[str, str, Any]:
        """Return name, ID and data of the next event, skipping comments."""
        while not isinstance(item := await self.next(), ServerSentEvent):
            pass
        return item.event, item.id, msgspec.json.decode(item.data)

    async def read_all(self) -> list[ServerSentEvent | Comment]:
        async with asyncio.timeout(TIMEOUT):
            return [each async for each in self._items]


@asynccontextmanager
async def open_stream(http: httpx.AsyncClient, **options: Any) -> AsyncIterator[EventStream]:
    async with http.stream("GET", "/api/v1/events", **options) as response:
        assert response.status_code == 200, await response.aread()
        stream = EventStream(response)
        await stream.read_cursor()
        yield stream


async def create_signing_task(http: httpx.AsyncClient) -> str:
    """Create a signing task, which waits for approval; return its ID."""
    body = {"deviceConfigId": GATEWAY, "inputBase64": base64.b64encode(b"hello").decode()}
    response = await http.post("/api/v1/signingTask", json=body)
    return str(response.json()["id"])


async def test_stream_sends_events_with_cursor(harness: ServerHarness) -> None:
    dev, owner = await harness.http_client(DEV), await harness.http_client(OWNER)
    async with open_stream(owner) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        assert stream.response.headers["Cache-Control"] == "no-store"
        task_id = await create_signing_task(dev)
        name, cursor, data = await stream.next_event()
        assert (name, int(cursor)) == ("TaskChanged", stream.start + 1)
        assert (data["type"], data["taskId"], data["cursor"]) == ("TaskChanged", task_id, stream.start + 1)


async def test_stream_resumes_after_last_event_id(harness: ServerHarness) -> None:
    dev = await harness.http_client(DEV)
    async with open_stream(dev) as stream:
        start = stream.start
    ids = [await create_signing_task(dev) for _ in range(3)]
    received: list[tuple[str, str, Any]] = []
    async with open_stream(dev, params={"after": start}) as stream:
        while not received or received[-1][2].get("taskId") != ids[-1]:
            received.append(await stream.next_event())
    assert [int(each[1]) for each in received] == list(range(start + 1, start + 1 + len(received)))
    for position in range(1, len(received)):
        async with open_stream(dev, headers={"Last-Event-ID": received[position - 1][1]}) as stream:
            assert stream.start == int(received[position - 1][1])
            assert await stream.next_event() == received[position]


async def test_empty_last_event_id_starts_at_end(harness: ServerHarness) -> None:
    dev = await harness.http_client(DEV)
    await create_signing_task(dev)
    async with open_stream(dev, headers={"Last-Event-ID": ""}) as stream:
        assert stream.start == await harness.engine.client(ADMIN).cursor()


@pytest.mark.parametrize("event_id", ["x", "-1", "٣", "1e3", "9" * 30])
async def test_invalid_last_event_id_is_rejected(harness: ServerHarness, event_id: str) -> None:
    dev = await harness.http_client(DEV)
    response = await dev.get("/api/v1/events", headers=[(b"Last-Event-ID", event_id.encode())])
    assert (response.status_code, response.json()["detail"]) == (400, "Invalid Last-Event-ID.")


async def test_hidden_task_publishes_no_event(harness: ServerHarness) -> None:
    dev, stranger = await harness.http_client(DEV), await harness.http_client(STRANGER)
    async with open_stream(stranger) as stream, open_stream(dev) as own_stream:
        task_id = await create_signing_task(dev)
        await harness.engine.client(ADMIN).add_subject("USER:new")
        assert (await own_stream.next_event())[2]["taskId"] == task_id
        name, _, data = await stream.next_event()
        assert name == "WorkspaceChanged"
        assert task_id not in str(data)


async def test_too_many_missed_events_report_gap(harness: ServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_events, "QUEUE_SIZE", 2)
    dev = await harness.http_client(DEV)
    for _ in range(3):
        await create_signing_task(dev)
    newest = await harness.engine.client(ADMIN).cursor()
    async with open_stream(dev, params={"after": 0}) as stream:
        assert await stream.next_event() == ("EventsMissed", str(newest), {"type": "EventsMissed", "cursor": newest})
        await create_signing_task(dev)
        assert (await stream.next_event())[1] == str(newest + 1)


def test_progress_event_has_no_id() -> None:
    progress = TaskProgressed(cursor=7, task_id="a", bytes_done=1, bytes_total=2, eta_seconds=None)
    assert format_sse(progress).startswith("event: TaskProgressed\ndata: {")
    assert format_sse(progress).endswith("}\n\n")


async def test_idle_stream_sends_keepalives(harness: ServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 0.05)
    async with open_stream(await harness.http_client(DEV)) as stream:
        assert [await stream.next() for _ in range(3)] == [Comment(text="keepalive")] * 3


async def test_idle_stream_ends_after_token_revocation(harness: ServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 0.1)
    http, admin = await harness.http_client(DEV), harness.engine.client(ADMIN)
    async with open_stream(http) as stream:
        for token in await harness.engine.client(DEV).tokens():
            await admin.revoke_token(token.id)
        await stream.read_all()
    assert (await http.get("/api/v1/events")).status_code == 401


@pytest.mark.parametrize("state", [SubjectState.DISABLED, SubjectState.REMOVED])
async def test_stream_ends_at_once_when_subject_leaves(
    harness: ServerHarness, monkeypatch: pytest.MonkeyPatch, state: SubjectState
) -> None:
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 1000.0)
    admin = harness.engine.client(ADMIN)
    subject = (await admin.add_subject(f"USER:{state.lower()}")).id
    http = await harness.http_client(subject)
    async with open_stream(http) as stream:
        await admin.set_subject_state(subject, state, "left the company", confirmed=True)
        assert await stream.read_all() == []
    assert (await http.get("/api/v1/events")).status_code == 401


async def test_busy_stream_ends_after_token_revocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 1.0)

    class BusyClient:
        async def events(self, after: int) -> AsyncIterator[WorkspaceChanged]:
            while True:
                after += 1
                yield WorkspaceChanged(cursor=after, at=datetime.now(UTC), resource="ACL")
                await asyncio.sleep(0)

    async def reject_token() -> None:
        raise AuthenticationError("The token was revoked.")

    unused = cast(Any, None)
    caller = Caller(
        tenant="",
        engine_handle=unused,
        subject=DEV,
        client=cast(Any, BusyClient()),
        max_body_bytes=0,
        revalidate=reject_token,
    )
    async with asyncio.timeout(TIMEOUT):
        events = [each async for each in routes.stream_events(caller, 0)]
    assert len(events) > 2


async def test_invalid_cursor_is_rejected(harness: ServerHarness) -> None:
    dev = await harness.http_client(DEV)
    for cursor in ("-1", "x", str(2**60)):
        assert (await dev.get("/api/v1/events", params={"after": cursor})).status_code == 400
    assert (await harness.anonymous_client().get("/api/v1/events")).status_code == 401


async def test_httpx_sse_parses_stream(harness: ServerHarness) -> None:
    dev = await harness.http_client(DEV)
    async with open_stream(dev) as stream:
        start = stream.start
    task_id = await create_signing_task(dev)
    async with (
        asyncio.timeout(TIMEOUT),
        aconnect_sse(dev, "GET", "/api/v1/events", headers={"Last-Event-ID": str(start)}) as source,
    ):
        event = await anext(item async for item in source.aiter_sse() if item.event == "TaskChanged")
    assert event.id == str(start + 1)
    assert event.json()["taskId"] == task_id
