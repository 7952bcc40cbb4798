"""Test how a standby forwards a request, with an application of the test on the active server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.types import HTTPScope, Receive, Send
from prometheus_client import CollectorRegistry

from sealyard.model.cluster import LeaseHolder
from sealyard.server.cluster.active_server import ActiveServer
from sealyard.server.cluster.certificates import ClusterCertificates
from sealyard.server.cluster.changes import ChangeSignal
from sealyard.server.cluster.forwarder import Forwarder
from sealyard.server.cluster.headers import CLIENT
from sealyard.server.cluster.lease_watch import LeaseWatch
from sealyard.server.cluster.metrics import ClusterMetrics
from sealyard.server.cluster.request_gate import RequestGate
from sealyard.server.cluster.router import ClusterRouter, InternalApp
from sealyard.server.http.listeners import UvicornListener, bind, cluster_listener, network_listener
from sealyard.server.settings import ClusterSettings
from tests.support.limits import TIMEOUT
from tests.support.ports import ReservedPort
from tests.support.tls_certificates import ClusterAuthority

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 1.0


class FakeLease:
    """A lease that the test assigns to servers."""

    holder: LeaseHolder | None = None

    def read(self) -> LeaseHolder | None:
        return self.holder

    def close(self) -> None:
        pass


class App:
    """The routes of the active server. ``handle`` answers requests; the test may replace it."""

    def __init__(self) -> None:
        self.scopes: list[HTTPScope] = []
        self.bodies: list[bytes] = []
        self.ended = asyncio.Event()
        self.handle: Any = self.echo

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["path"] == "/healthz":
            await respond(send, 200)
            return
        self.scopes.append(scope)
        try:
            await self.handle(scope, receive, send)
        finally:
            self.ended.set()

    async def echo(self, _scope: HTTPScope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            assert message["type"] == "http.request"
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        await respond(send, 201, body)


async def respond(send: Send, status: int, body: bytes = b"", *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Pair:
    """A standby and servers that can become active."""

    def __init__(self, folder: Path) -> None:
        self.authority = ClusterAuthority(folder)
        self.lease = FakeLease()
        self.app = App()
        self.gate = RequestGate()
        self.registry = CollectorRegistry()
        self.listeners: list[tuple[UvicornListener, asyncio.Task[None]]] = []
        self.base = ""
        self._ports: list[ReservedPort] = []
        self._term = 0
        changes = ChangeSignal()
        self.watch = LeaseWatch(self.lease, changes)
        self.certificates = ClusterCertificates(self.settings("standby"))
        self.forwarder = Forwarder(self.certificates, ClusterMetrics(self.registry))
        self.active_server = ActiveServer("https://standby", self.watch, self.forwarder.probe, changes)
        self.router = ClusterRouter(App(), RequestGate(), self.active_server, self.forwarder, changes, WAIT_SECONDS)
        self._tasks: list[asyncio.Task[None]] = []

    def settings(self, name: str) -> ClusterSettings:
        certificate, key = self.authority.issue(name)
        return ClusterSettings(
            url="https://localhost", certificate=str(certificate), key=str(key), ca=str(self.authority.certificate)
        )

    async def start(self) -> None:
        self.base = f"http://127.0.0.1:{await self._serve(network_listener(self.router, certificate=None, proxies=''))}"
        self._tasks = [asyncio.create_task(self.watch.run()), asyncio.create_task(self.active_server.run())]

    async def activate(self, app: App | None = None, gate: RequestGate | None = None) -> int:
        """Start an active server, and give it the lease. Returns its port."""
        gate = gate or self.gate
        gate.open(lambda: None)
        context = ClusterCertificates(self.settings("active")).server_context
        port = await self._serve(cluster_listener(InternalApp(app or self.app, gate), context))
        self.assign_lease(port)
        await self.wait_reached()
        return port

    def assign_lease(self, port: int) -> None:
        self._term += 1
        url = f"https://localhost:{port}"
        self.lease.holder = LeaseHolder(term=self._term, name="host:1", url=url, remaining_seconds=60)

    async def wait_reached(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            while self.active_server.target is None or self.active_server.target.term != self._term:
                await asyncio.sleep(0.02)

    async def stop_active(self) -> None:
        listener, task = self.listeners[-1]
        listener.stop()
        listener.abort()
        await task

    def reserve_port(self) -> int:
        """Return a port on which nothing listens."""
        self._ports.append(ReservedPort())
        return self._ports[-1].number

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base, timeout=TIMEOUT)

    def forwarded(self, outcome: str) -> float:
        return self.registry.get_sample_value("sealyard_cluster_forwarded_requests_total", {"outcome": outcome}) or 0

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for listener, task in self.listeners:
            listener.stop()
            listener.abort()
            await task
        await self.forwarder.close()
        for port in self._ports:
            port.close()

    async def _serve(self, listener: UvicornListener) -> int:
        sock = bind("localhost", 0)
        self.listeners.append((listener, asyncio.create_task(listener.serve([sock]))))
        return int(sock.getsockname()[1])


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path)
    await pair.start()
    try:
        yield pair
    finally:
        await pair.close()


# ---- requests


async def test_request_is_forwarded_unchanged(pair: Pair) -> None:
    await pair.activate()
    async with pair.client() as http:
        response = await http.post(
            "/api/v1/a%2Fb%7e?x=1&y=%20z",
            content=b"body",
            headers={"Host": "seal.example", "X-Own": "value", "TE": "trailers", "X-Hop": "1", "Connection": "X-Hop"},
        )
    assert (response.status_code, response.content) == (201, b"body")
    (scope,) = pair.app.scopes
    headers = dict(scope["headers"])
    assert (scope["method"], scope["raw_path"], scope["query_string"]) == ("POST", b"/api/v1/a%2Fb%7e", b"x=1&y=%20z")
    assert (headers[b"host"], headers[b"x-own"], headers[b"content-length"]) == (b"seal.example", b"value", b"4")
    assert not {b"te", b"x-hop"} & set(headers)


async def test_address_of_client_is_restored_and_cannot_be_forged(pair: Pair) -> None:
    await pair.activate()
    async with pair.client() as http:
        await http.get("/", headers={CLIENT.decode(): "192.0.2.1 1", "X-SE-Cluster-Scheme": "https"})
    (scope,) = pair.app.scopes
    assert scope["client"] is not None
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")
    assert not any(name.startswith(b"x-se-cluster") for name, _ in scope["headers"])


async def test_body_without_length_is_streamed(pair: Pair) -> None:
    await pair.activate()
    first_chunk = asyncio.Event()

    async def handle(_scope: HTTPScope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert message["type"] == "http.request"
        assert (message["body"], message["more_body"]) == (b"first", True)
        first_chunk.set()
        await pair.app.echo(_scope, receive, send)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await first_chunk.wait()
        yield b"second"

    pair.app.handle = handle
    async with pair.client() as http, asyncio.timeout(TIMEOUT):
        response = await http.post("/", content=chunks())
    assert response.content == b"second"


async def test_response_is_streamed(pair: Pair) -> None:
    await pair.activate()
    may_continue = asyncio.Event()

    async def handle(_scope: HTTPScope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await may_continue.wait()
        await send({"type": "http.response.body", "body": b"second", "more_body": False})

    pair.app.handle = handle
    async with pair.client() as http, asyncio.timeout(TIMEOUT), http.stream("GET", "/") as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"first"
        assert response.headers["x-own"] == "1"
        may_continue.set()
        assert await anext(chunks) == b"second"


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "OPTIONS"])
async def test_other_methods(pair: Pair, method: str) -> None:
    await pair.activate()
    async with pair.client() as http:
        assert (await http.request(method, "/")).status_code == 201
    assert [scope["method"] for scope in pair.app.scopes] == [method]


async def test_disconnected_client_ends_request(pair: Pair) -> None:
    await pair.activate()

    async def handle(_scope: HTTPScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    pair.app.handle = handle
    async with pair.client() as http, http.stream("GET", "/") as response:
        await anext(response.aiter_raw())
    async with asyncio.timeout(TIMEOUT):
        await pair.app.ended.wait()


async def test_incomplete_body_is_not_completed(pair: Pair) -> None:
    """The active server must not take the part of a body that was received for the whole one."""
    await pair.activate()
    received: list[str] = []

    async def handle(_scope: HTTPScope, receive: Receive, _send: Send) -> None:
        message = await receive()
        while message["type"] == "http.request":
            assert message["more_body"]
            message = await receive()
        received.append(message["type"])

    pair.app.handle = handle
    _, writer = await asyncio.open_connection("127.0.0.1", int(pair.base.rpartition(":")[2]))
    writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\npart")
    await writer.drain()
    async with asyncio.timeout(TIMEOUT):
        while not pair.app.scopes:
            await asyncio.sleep(0.01)
        writer.close()
        await pair.app.ended.wait()
    assert received == ["http.disconnect"]


# ---- lost servers


async def test_request_waits_until_a_server_is_active(pair: Pair) -> None:
    pair.assign_lease(pair.reserve_port())
    async with pair.client() as http:
        request = asyncio.create_task(http.post("/", content=b"body"))
        await pair.activate()
        assert (await request).status_code == 201


async def test_no_active_server(pair: Pair) -> None:
    async with pair.client() as http:
        response = await http.post("/", content=b"body")
    assert (response.status_code, response.json()["code"]) == (503, "taking-over")
    assert (response.headers["Retry-After"], response.json()["retryAfter"]) == ("1", 1.0)


async def test_server_that_is_not_active_does_not_forward(pair: Pair) -> None:
    """A server that has lost the lease since it was reached rejects a request, which waits for the next one."""
    await pair.activate()
    pair.gate.close()
    async with pair.client() as http:
        response = await http.get("/")
        assert (response.status_code, response.json()["code"]) == (503, "taking-over")
        assert not any(name.startswith("x-se-cluster") for name in response.headers)
    assert pair.app.scopes == []


async def test_rejected_request_with_body_is_repeated_by_client_only(pair: Pair) -> None:
    await pair.activate()
    pair.gate.close()
    async with pair.client() as http:
        response = await http.post("/", content=b"body")
    assert (response.status_code, response.json()["code"]) == (503, "taking-over")
    assert response.headers["Retry-After"] == "1"


async def lose_request(pair: Pair, request: Any) -> Any:
    """Stop the active server as soon as it has received a request, and return the task of the request."""
    received = asyncio.Event()

    async def handle(_scope: HTTPScope, _receive: Receive, _send: Send) -> None:
        received.set()
        await asyncio.Event().wait()

    pair.app.handle = handle
    await pair.activate()
    task = asyncio.create_task(request)
    await received.wait()
    pair.gate.close()
    await pair.gate.finish(0)
    return task


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_lost_read_is_repeated(pair: Pair, method: str) -> None:
    async with pair.client() as http:
        request = await lose_request(pair, http.request(method, "/"))
        await pair.activate(App(), RequestGate())
        assert (await request).status_code == 201


async def test_lost_change_has_unknown_outcome(pair: Pair) -> None:
    async with pair.client() as http:
        response = await (await lose_request(pair, http.post("/", content=b"body")))
    assert (response.status_code, response.json()["code"]) == (502, "outcome-unknown")
    assert "Retry-After" not in response.headers
    assert "retryAfter" not in response.json()


@asynccontextmanager
async def hung_server(pair: Pair) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Run a server that accepts TLS connections and requests, but never responds.

    Yields its port, and an event that is set when it has received a request.
    """
    connected = []
    received = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/healthz" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        received.set()

    context = ClusterCertificates(pair.settings("hung")).server_context
    sock = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(accept, sock=sock, ssl=context)
    try:
        yield sock.getsockname()[1], received
    finally:
        for writer in connected:
            writer.transport.abort()
        server.close()


@pytest.mark.parametrize(("method", "status"), [("GET", 201), ("POST", 502)])
async def test_server_that_hangs_is_given_up_once_replaced(pair: Pair, method: str, status: int) -> None:
    async with hung_server(pair) as (port, received), pair.client() as http:
        pair.assign_lease(port)
        await pair.wait_reached()
        request = asyncio.create_task(http.request(method, "/"))
        await received.wait()
        await pair.activate()
        assert (await request).status_code == status
    assert pair.forwarded("lost") == 1


async def test_broken_response_ends_connection(pair: Pair) -> None:
    async def handle(_scope: HTTPScope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await asyncio.Event().wait()

    pair.app.handle = handle
    await pair.activate()
    async with pair.client() as http, http.stream("GET", "/") as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"part"
        pair.gate.close()
        await pair.gate.finish(0)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)


# ---- certificates


async def test_server_with_certificate_of_another_authority_is_not_reached(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, pair.authority = pair.authority, ClusterAuthority(tmp_path / "other")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await pair.activate()
    pair.authority = authority
    assert pair.active_server.target is None


async def test_certificates_are_reloaded(pair: Pair, tmp_path: Path) -> None:
    """All servers get certificates of a new authority, one after the other."""
    await pair.activate()
    new_folder = tmp_path / "new"
    new_folder.mkdir()
    new_authority = ClusterAuthority(new_folder)
    certificate, key = new_authority.issue("standby")
    for source, name in ((certificate, "standby-cluster.pem"), (key, "standby-cluster.key")):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "cluster-ca.pem").write_bytes(new_authority.certificate.read_bytes())
    pair.certificates.reload()
    pair.forwarder.reload_certificates()
    pair.authority = new_authority
    await pair.activate(App(), RequestGate())
    async with pair.client() as http:
        assert (await http.get("/")).status_code == 201


async def test_client_without_certificate_is_rejected(pair: Pair) -> None:
    port = await pair.activate()
    context = ssl.create_default_context(cafile=str(pair.authority.certificate))
    async with httpx.AsyncClient(verify=context) as http:
        with pytest.raises(httpx.HTTPError):
            await http.get(f"https://localhost:{port}/")
    assert pair.app.scopes == []
