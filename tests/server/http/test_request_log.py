"""Each request is measured once it is over, and whoever asks for nonsense does not make us keep count of it."""

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
async def thing(request: Request[Any, Any, Any], thing_id: FromPath[str]) -> str:
    request.scope["state"]["caller"] = ANNA
    return thing_id


@post("/things", status_code=202)
async def put(request: Request[Any, Any, Any]) -> str:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


@get("/parts")
async def parts() -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    return Stream(pieces())


@get("/fault")
async def fault() -> str:
    raise RuntimeError("a fault")


@get("/id")
async def own_id() -> str:
    await asyncio.sleep(0)
    return current_request.get()


HANDLERS = [thing, put, parts, fault, own_id]


class Watched:
    def __init__(self, base: str, seen: list[RequestRecord]) -> None:
        self.calls = httpx.AsyncClient(base_url=base)
        self.seen = seen

    async def last(self, count: int = 1) -> RequestRecord:
        """Told when the answer is out, which may be a moment after it came in."""
        async with asyncio.timeout(10):
            while len(self.seen) < count:
                await asyncio.sleep(0.001)
        assert len(self.seen) == count
        return self.seen[-1]


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    seen: list[RequestRecord] = []
    app = RequestLogMiddleware(Litestar(HANDLERS, logging_config=None), seen.append)
    listener = network_listener(app, certificate=None, proxies="")
    sock = bind("127.0.0.1", 0)
    running = asyncio.create_task(listener.serve([sock]))
    found = Watched(f"http://127.0.0.1:{sock.getsockname()[1]}", seen)
    try:
        yield found
    finally:
        await found.calls.aclose()
        listener.stop()
        await running


async def test_a_request_is_told_by_its_template_and_without_its_query() -> None:
    async with watched() as server:
        await server.calls.get("/things/secret-thing?signature=canary")
        told = await server.last()
    assert (told.method, told.template, told.path, told.status) == (
        "GET",
        "/things/{thing_id}",
        "/things/secret-thing",
        200,
    )
    assert "canary" not in repr(told)
    assert 0 < told.time_to_first_byte <= told.seconds


async def test_who_asked_is_told_where_it_is_known() -> None:
    async with watched() as server:
        await server.calls.get("/things/1")
        first = await server.last()
        await server.calls.get("/parts")
        second = await server.last(2)
    assert (first.tenant, first.subject) == ("acme", "USER:anna")
    assert (second.tenant, second.subject) == ("", "")


async def test_bytes_are_counted_both_ways() -> None:
    async with watched() as server:
        answer = await server.calls.post("/things", content=b"y" * 300_000)
        came = await server.last()
        await server.calls.get("/parts")
        went = await server.last(2)
    assert (answer.status_code, answer.text) == (202, "300000")
    assert (came.status, came.received, came.sent) == (202, 300_000, 6)
    assert (went.received, went.sent) == (0, 5000)


@pytest.mark.parametrize("path", ["/nothing", "/things/1/more", "/%0a%1b[31m", "/" + "x" * 3000])
async def test_paths_that_lead_nowhere_have_one_template_and_are_harmless(path: str) -> None:
    async with watched() as server:
        await server.calls.get(path)
        told = await server.last()
    assert (told.template, told.status) == (UNMATCHED_PATH, 404)
    assert told.path.isprintable()
    assert len(told.path) <= 300


async def test_methods_that_mean_nothing_here_have_one_name() -> None:
    async with watched() as server:
        await server.calls.request("PROPFIND", "/things/1")
        told = await server.last()
    assert (told.method, told.status) == ("OTHER", 405)


async def test_a_fault_is_told_as_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with watched() as server:
        assert (await server.calls.get("/fault")).status_code == 500
        assert (await server.last()).status == 500


async def test_a_request_has_an_id_that_the_answer_and_the_handler_know() -> None:
    async with watched() as server:
        answers = await asyncio.gather(*(server.calls.get("/id") for _ in range(20)))
        await server.last(20)
    named = [each.headers["x-request-id"] for each in answers]
    assert [each.text for each in answers] == named
    assert len(set(named)) == 20
    assert sorted(named) == sorted(each.id for each in server.seen)
    assert current_request.get() == ""


@pytest.mark.parametrize(("given", "kept"), [("proxy-7.a_B", True), ("", False), ("a b", False), ("x" * 65, False)])
async def test_an_id_of_a_proxy_in_front_is_kept_where_it_is_one(given: str, kept: bool) -> None:
    async with watched() as server:
        answer = await server.calls.get("/id", headers={"X-Request-Id": given})
    assert (answer.headers["x-request-id"] == given) is kept


async def test_what_breaks_before_any_answer_is_told_and_goes_on_breaking() -> None:
    seen: list[RequestRecord] = []

    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(RuntimeError, match="broken"):
        await RequestLogMiddleware(cast(Any, broken), seen.append)(scope, cast(Any, None), cast(Any, None))
    assert seen[0].status == 0


async def test_what_is_no_http_passes_by() -> None:
    passed: list[object] = []

    async def app(scope: object, *_: object) -> None:
        passed.append(scope)

    seen: list[RequestRecord] = []
    scope: Any = {"type": "lifespan"}
    await RequestLogMiddleware(cast(Any, app), seen.append)(scope, cast(Any, None), cast(Any, None))
    assert passed == [scope]
    assert not seen
