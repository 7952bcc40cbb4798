"""Test how a standby forwards a request, with an application of the test on the active server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.types import HTTPScope, Receive, Send

from sealyard.server.cluster.headers import CLIENT
from sealyard.server.cluster.request_gate import RequestGate
from tests.support.forwarding_harness import App, ForwardingHarness, hung_server, respond
from tests.support.limits import TIMEOUT
from tests.support.tls_certificates import ClusterAuthority

pytestmark = pytest.mark.anyio


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[ForwardingHarness]:
    harness = ForwardingHarness(tmp_path)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.close()


# ---- requests


async def test_request_is_forwarded_unchanged(harness: ForwardingHarness) -> None:
    await harness.activate()
    async with harness.client() as http:
        response = await http.post(
            "/api/v1/a%2Fb%7e?x=1&y=%20z",
            content=b"body",
            headers={"Host": "seal.example", "X-Own": "value", "TE": "trailers", "X-Hop": "1", "Connection": "X-Hop"},
        )
    assert (response.status_code, response.content) == (201, b"body")
    (scope,) = harness.app.scopes
    headers = dict(scope["headers"])
    assert (scope["method"], scope["raw_path"], scope["query_string"]) == ("POST", b"/api/v1/a%2Fb%7e", b"x=1&y=%20z")
    assert (headers[b"host"], headers[b"x-own"], headers[b"content-length"]) == (b"seal.example", b"value", b"4")
    assert not {b"te", b"x-hop"} & set(headers)


async def test_address_of_client_is_restored_and_cannot_be_forged(harness: ForwardingHarness) -> None:
    await harness.activate()
    async with harness.client() as http:
        await http.get("/", headers={CLIENT.decode(): "192.0.2.1 1", "X-SE-Cluster-Scheme": "https"})
    (scope,) = harness.app.scopes
    assert scope["client"] is not None
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")
    assert not any(name.startswith(b"x-se-cluster") for name, _ in scope["headers"])


async def test_body_without_length_is_streamed(harness: ForwardingHarness) -> None:
    await harness.activate()
    first_chunk = asyncio.Event()

    async def handle(_scope: HTTPScope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert message["type"] == "http.request"
        assert (message["body"], message["more_body"]) == (b"first", True)
        first_chunk.set()
        await harness.app.echo(_scope, receive, send)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await first_chunk.wait()
        yield b"second"

    harness.app.handle = handle
    async with harness.client() as http, asyncio.timeout(TIMEOUT):
        response = await http.post("/", content=chunks())
    assert response.content == b"second"


async def test_response_is_streamed(harness: ForwardingHarness) -> None:
    await harness.activate()
    may_continue = asyncio.Event()

    async def handle(_scope: HTTPScope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await may_continue.wait()
        await send({"type": "http.response.body", "body": b"second", "more_body": False})

    harness.app.handle = handle
    async with harness.client() as http, asyncio.timeout(TIMEOUT), http.stream("GET", "/") as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"first"
        assert response.headers["x-own"] == "1"
        may_continue.set()
        assert await anext(chunks) == b"second"


async def test_response_before_end_of_body_is_forwarded(harness: ForwardingHarness) -> None:
    """The active server rejects an upload without reading it."""
    await harness.activate()

    async def handle(_scope: HTTPScope, _receive: Receive, send: Send) -> None:
        await respond(send, 401, b"rejected", (b"content-length", b"8"))

    harness.app.handle = handle
    async with harness.client() as http:
        response = await http.put("/", content=bytes(20 << 20))
    assert (response.status_code, response.content) == (401, b"rejected")


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "OPTIONS"])
async def test_other_methods(harness: ForwardingHarness, method: str) -> None:
    await harness.activate()
    async with harness.client() as http:
        assert (await http.request(method, "/")).status_code == 201
    assert [scope["method"] for scope in harness.app.scopes] == [method]


async def test_disconnected_client_ends_request(harness: ForwardingHarness) -> None:
    await harness.activate()

    async def handle(_scope: HTTPScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    harness.app.handle = handle
    async with harness.client() as http, http.stream("GET", "/") as response:
        await anext(response.aiter_raw())
    async with asyncio.timeout(TIMEOUT):
        await harness.app.ended.wait()


async def test_incomplete_body_is_not_completed(harness: ForwardingHarness) -> None:
    """The active server must not take the part of a body that was received for the whole one."""
    await harness.activate()
    received: list[str] = []

    async def handle(_scope: HTTPScope, receive: Receive, _send: Send) -> None:
        message = await receive()
        while message["type"] == "http.request":
            assert message["more_body"]
            message = await receive()
        received.append(message["type"])

    harness.app.handle = handle
    _, writer = await asyncio.open_connection("127.0.0.1", int(harness.base.rpartition(":")[2]))
    writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\npart")
    await writer.drain()
    async with asyncio.timeout(TIMEOUT):
        while not harness.app.scopes:
            await asyncio.sleep(0.01)
        writer.close()
        await harness.app.ended.wait()
    assert received == ["http.disconnect"]


# ---- lost servers


async def test_request_waits_until_a_server_is_active(harness: ForwardingHarness) -> None:
    harness.assign_lease(harness.reserve_port())
    async with harness.client() as http:
        request = asyncio.create_task(http.post("/", content=b"body"))
        await harness.activate()
        assert (await request).status_code == 201


async def test_no_active_server(harness: ForwardingHarness) -> None:
    async with harness.client() as http:
        response = await http.post("/", content=b"body")
    assert (response.status_code, response.json()["code"]) == (503, "taking-over")
    assert (response.headers["Retry-After"], response.json()["retryAfter"]) == ("1", 1.0)


async def test_server_that_is_not_active_does_not_forward(harness: ForwardingHarness) -> None:
    """A server that has lost the lease since it was reached rejects a request, which waits for the next one."""
    await harness.activate()
    harness.gate.close()
    async with harness.client() as http:
        response = await http.get("/")
        assert (response.status_code, response.json()["code"]) == (503, "taking-over")
        assert not any(name.startswith("x-se-cluster") for name in response.headers)
    assert harness.app.scopes == []


async def test_rejected_request_with_body_is_repeated_by_client_only(harness: ForwardingHarness) -> None:
    await harness.activate()
    harness.gate.close()
    async with harness.client() as http:
        response = await http.post("/", content=b"body")
    assert (response.status_code, response.json()["code"]) == (503, "taking-over")
    assert response.headers["Retry-After"] == "1"


async def lose_request(harness: ForwardingHarness, request: Any) -> Any:
    """Stop the active server as soon as it has received a request, and return the task of the request."""
    received = asyncio.Event()

    async def handle(_scope: HTTPScope, _receive: Receive, _send: Send) -> None:
        received.set()
        await asyncio.Event().wait()

    harness.app.handle = handle
    await harness.activate()
    task = asyncio.create_task(request)
    await received.wait()
    harness.gate.close()
    await harness.gate.finish(0)
    return task


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_lost_read_is_repeated(harness: ForwardingHarness, method: str) -> None:
    async with harness.client() as http:
        request = await lose_request(harness, http.request(method, "/"))
        await harness.activate(App(), RequestGate())
        assert (await request).status_code == 201


async def test_lost_change_has_unknown_outcome(harness: ForwardingHarness) -> None:
    async with harness.client() as http:
        response = await (await lose_request(harness, http.post("/", content=b"body")))
    assert (response.status_code, response.json()["code"]) == (502, "outcome-unknown")
    assert "Retry-After" not in response.headers
    assert "retryAfter" not in response.json()


@pytest.mark.parametrize(("method", "status"), [("GET", 201), ("POST", 502)])
async def test_server_that_hangs_is_given_up_once_replaced(
    harness: ForwardingHarness, method: str, status: int
) -> None:
    async with hung_server(harness) as (port, received), harness.client() as http:
        harness.assign_lease(port)
        await harness.wait_reached()
        request = asyncio.create_task(http.request(method, "/"))
        await received.wait()
        await harness.activate()
        assert (await request).status_code == status
    assert harness.forwarded("lost") == 1


async def test_broken_response_ends_connection(harness: ForwardingHarness) -> None:
    async def handle(_scope: HTTPScope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await asyncio.Event().wait()

    harness.app.handle = handle
    await harness.activate()
    async with harness.client() as http, http.stream("GET", "/") as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"part"
        harness.gate.close()
        await harness.gate.finish(0)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)


# ---- certificates


async def test_server_with_certificate_of_another_authority_is_not_reached(
    harness: ForwardingHarness, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    authority, harness.authority = harness.authority, ClusterAuthority(tmp_path / "other")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await harness.activate()
    harness.authority = authority
    assert harness.active_server.target is None


async def test_certificates_are_reloaded(harness: ForwardingHarness, tmp_path: Path) -> None:
    """All servers get certificates of a new authority, one after the other."""
    await harness.activate()
    new_folder = tmp_path / "new"
    new_folder.mkdir()
    new_authority = ClusterAuthority(new_folder)
    certificate, key = new_authority.issue("standby")
    for source, name in ((certificate, "standby-cluster.pem"), (key, "standby-cluster.key")):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "cluster-ca.pem").write_bytes(new_authority.certificate.read_bytes())
    harness.certificates.reload()
    harness.forwarder.reload_certificates()
    harness.authority = new_authority
    await harness.activate(App(), RequestGate())
    async with harness.client() as http:
        assert (await http.get("/")).status_code == 201


async def test_client_without_certificate_is_rejected(harness: ForwardingHarness) -> None:
    port = await harness.activate()
    context = ssl.create_default_context(cafile=str(harness.authority.certificate))
    async with httpx.AsyncClient(verify=context) as http:
        with pytest.raises(httpx.HTTPError):
            await http.get(f"https://localhost:{port}/")
    assert harness.app.scopes == []
