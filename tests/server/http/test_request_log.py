"""Tests of the request log middleware: request records and request IDs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, Request, get, post
from litestar.params import FromPath
from litestar.response import Stream

from sealyard.server.auth.caller import Caller
from sealyard.server.http.listeners import bind, network_listener
from sealyard.server.http.request_log import UNMATCHED_PATH, RequestLogMiddleware, RequestRecord, current_request
from tests.support.limits import TIMEOUT

pytestmark = pytest.mark.anyio

ANNA = Caller(
    tenant="acme",
    engine_handle=cast(Any, None),
    subject="USER:anna",
    client=cast(Any, None),
    max_body_bytes=0,
    revalidate=cast(Any, None),
)


@get("/things/{thing_id:str}")
async def get_thing(request: Request[Any, Any, Any], thing_id: FromPath[str]) -> str:
    request.scope["state"]["caller"] = ANNA
    return thing_id


@post("/things", status_code=202)
async def count_bytes(request: Request[Any, Any, Any]) -> str:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


@get("/parts")
async def stream_parts() -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    return Stream(pieces())


@get("/fault")
async def raise_fault() -> str:
    raise RuntimeError("a fault")


@get("/id")
async def get_id() -> str:
    await asyncio.sleep(0)
    return current_request.get()


HANDLERS = [get_thing, count_bytes, stream_parts, raise_fault, get_id]


class LoggedServer:
    def __init__(self, base: str, records: list[RequestRecord]) -> None:
        self.http = httpx.AsyncClient(base_url=base, timeout=TIMEOUT)
        self.records = records

    async def last(self, count: int = 1) -> RequestRecord:
        """Wait for the latest of `count` records; a record may be added shortly after the response arrives."""
        async with asyncio.timeout(TIMEOUT):
            while len(self.records) < count:
                await asyncio.sleep(0.001)
        assert len(self.records) == count
        return self.records[-1]


@asynccontextmanager
async def run_logged_server() -> AsyncIterator[LoggedServer]:
    records: list[RequestRecord] = []
    app = RequestLogMiddleware(Litestar(HANDLERS, logging_config=None), records.append)
    listener = network_listener(app, certificate=None, proxies="")
    sock = bind("127.0.0.1", 0)
    serve_task = asyncio.create_task(listener.serve([sock]))
    server = LoggedServer(f"http://127.0.0.1:{sock.getsockname()[1]}", records)
    try:
        yield server
    finally:
        await server.http.aclose()
        listener.stop()
        await serve_task


async def test_record_has_template_without_query() -> None:
    async with run_logged_server() as server:
        await server.http.get("/things/secret-thing?signature=canary")
        record = await server.last()
    assert (record.method, record.template, record.path, record.status) == (
        "GET",
        "/things/{thing_id}",
        "/things/secret-thing",
        200,
    )
    assert "canary" not in repr(record)
    assert 0 < record.time_to_first_byte <= record.seconds


async def test_record_has_tenant_and_subject_when_authenticated() -> None:
    async with run_logged_server() as server:
        await server.http.get("/things/1")
        first = await server.last()
        await server.http.get("/parts")
        second = await server.last(2)
    assert (first.tenant, first.subject) == ("acme", "USER:anna")
    assert (second.tenant, second.subject) == ("", "")


async def test_received_and_sent_bytes_are_counted() -> None:
    async with run_logged_server() as server:
        response = await server.http.post("/things", content=b"y" * 300_000)
        upload_record = await server.last()
        await server.http.get("/parts")
        download_record = await server.last(2)
    assert (response.status_code, response.text) == (202, "300000")
    assert (upload_record.status, upload_record.received, upload_record.sent) == (202, 300_000, 6)
    assert (download_record.received, download_record.sent) == (0, 5000)


@pytest.mark.parametrize("path", ["/nothing", "/things/1/more", "/%0a%1b[31m", "/" + "x" * 3000])
async def test_unmatched_paths_share_template_and_are_escaped(path: str) -> None:
    async with run_logged_server() as server:
        await server.http.get(path)
        record = await server.last()
    assert (record.template, record.status) == (UNMATCHED_PATH, 404)
    assert record.path.isprintable()
    assert len(record.path) <= 300


async def test_unknown_method_is_recorded_as_other() -> None:
    async with run_logged_server() as server:
        await server.http.request("PROPFIND", "/things/1")
        record = await server.last()
    assert (record.method, record.status) == ("OTHER", 405)


async def test_unhandled_exception_is_recorded_as_500(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with run_logged_server() as server:
        assert (await server.http.get("/fault")).status_code == 500
        assert (await server.last()).status == 500


async def test_request_id_is_unique_and_returned() -> None:
    async with run_logged_server() as server:
        responses = await asyncio.gather(*(server.http.get("/id") for _ in range(20)))
        await server.last(20)
    request_ids = [each.headers["x-request-id"] for each in responses]
    assert [each.text for each in responses] == request_ids
    assert len(set(request_ids)) == 20
    assert sorted(request_ids) == sorted(each.id for each in server.records)
    assert current_request.get() == ""


@pytest.mark.parametrize(("header", "is_kept"), [("proxy-7.a_B", True), ("", False), ("a b", False), ("x" * 65, False)])
async def test_valid_proxy_request_id_is_kept(header: str, is_kept: bool) -> None:
    async with run_logged_server() as server:
        response = await server.http.get("/id", headers={"X-Request-Id": header})
    assert (response.headers["x-request-id"] == header) is is_kept


async def test_exception_before_response_is_recorded_and_raised() -> None:
    records: list[RequestRecord] = []

    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(RuntimeError, match="broken"):
        await RequestLogMiddleware(cast(Any, broken), records.append)(scope, cast(Any, None), cast(Any, None))
    assert records[0].status == 0


async def test_non_http_scope_is_passed_through() -> None:
    scopes: list[object] = []

    async def app(scope: object, *_: object) -> None:
        scopes.append(scope)

    records: list[RequestRecord] = []
    scope: Any = {"type": "lifespan"}
    await RequestLogMiddleware(cast(Any, app), records.append)(scope, cast(Any, None), cast(Any, None))
    assert scopes == [scope]
    assert not records
