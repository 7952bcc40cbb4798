"""Test event streams with `eventsource` from npm and with `httpx-sse`: a stream cut at any time misses no event."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from httpx_sse import aconnect_sse

from tests.support.cuttable_proxy import CuttableProxy
from tests.support.limits import TIMEOUT
from tests.support.node import INTEROP_DIR, Node
from tests.support.server_harness import DEV, GATEWAY, ServerHarness, run_server

pytestmark = [pytest.mark.anyio, pytest.mark.interop]


@pytest.fixture
async def harness(folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}) as harness:
        yield harness


@pytest.fixture
async def proxy(harness: ServerHarness) -> AsyncIterator[CuttableProxy]:
    async with CuttableProxy(urlsplit(harness.base).port or 0).listen() as proxy:
        yield proxy


@pytest.fixture
async def direct_client(harness: ServerHarness) -> httpx.AsyncClient:
    """A client that does not use the proxy. Its token is created before the streams start."""
    return await harness.http_client(DEV)


async def create_task(http: httpx.AsyncClient) -> str:
    body = {"deviceConfigId": GATEWAY, "inputBase64": base64.b64encode(b"hello").decode()}
    return str((await http.post("/api/v1/signingTask", json=body)).raise_for_status().json()["id"])


class EventSourceProcess:
    """A process that follows the event stream with the npm package `eventsource`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self, *types: str) -> dict[str, Any]:
        """Return the next line of one of ``types``, skipping others."""
        assert self._process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            while line := await self._process.stdout.readline():
                value: dict[str, Any] = msgspec.json.decode(line)
                if value["type"] in types:
                    return value
        raise AssertionError("the process has ended")


@asynccontextmanager
async def follow(node: Node, base_url: str, token: str) -> AsyncIterator[EventSourceProcess]:
    options = msgspec.json.encode({"url": f"{base_url}/api/v1/events", "token": token}).decode()
    process = await asyncio.create_subprocess_exec(
        node.command, str(INTEROP_DIR / "event_source.mjs"), options, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield EventSourceProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_eventsource_cut_before_first_event_misses_nothing(
    harness: ServerHarness, proxy: CuttableProxy, direct_client: httpx.AsyncClient, node: Node
) -> None:
    async with follow(node, proxy.url, await harness.token(DEV)) as source:
        start = await source.next("Cursor")
        assert int(start["id"]) == start["data"]["cursor"]
        proxy.cut()
        await source.next("error")
        task_id = await create_task(direct_client)
        proxy.restore()
        event = await source.next("TaskChanged")
        assert event["data"]["taskId"] == task_id
        assert int(event["id"]) > int(start["id"])


async def test_eventsource_cut_between_events_misses_and_repeats_nothing(
    harness: ServerHarness, proxy: CuttableProxy, direct_client: httpx.AsyncClient, node: Node
) -> None:
    async with follow(node, proxy.url, await harness.token(DEV)) as source:
        await source.next("Cursor")
        first = await create_task(direct_client)
        ids = []
        while True:
            event = await source.next("TaskChanged")
            ids.append(int(event["id"]))
            if event["data"]["status"] == "WAITING":
                break
        assert event["data"]["taskId"] == first
        proxy.cut()
        await source.next("error")
        second = await create_task(direct_client)
        proxy.restore()
        event = await source.next("TaskChanged")
        assert event["data"]["taskId"] == second
        assert int(event["id"]) > max(ids)


async def test_httpx_sse_resumes_after_start_position(
    harness: ServerHarness, proxy: CuttableProxy, direct_client: httpx.AsyncClient
) -> None:
    headers = {"Authorization": f"Bearer {await harness.token(DEV)}"}
    async with httpx.AsyncClient(base_url=proxy.url, headers=headers, timeout=TIMEOUT) as http:
        async with aconnect_sse(http, "GET", "/api/v1/events") as stream:
            start = await anext(stream.aiter_sse())
            assert (start.event, start.json()) == ("Cursor", {"cursor": int(start.id)})
            proxy.cut()
        task_id = await create_task(direct_client)
        proxy.restore()
        async with aconnect_sse(http, "GET", "/api/v1/events", headers={"Last-Event-ID": start.id}) as stream:
            events = stream.aiter_sse()
            assert (await anext(events)).event == "Cursor"
            event = await anext(events)
    assert (event.event, event.json()["taskId"]) == ("TaskChanged", task_id)
