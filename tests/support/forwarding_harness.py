"""A standby that forwards requests to applications of the test, over real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from litestar.types import HTTPScope, Receive, Send
from prometheus_client import CollectorRegistry

from sealyard.model.cluster import LeaseHolder
from sealyard.server.cluster.active_server import ActiveServer
from sealyard.server.cluster.certificates import ClusterCertificates
from sealyard.server.cluster.changes import ChangeSignal
from sealyard.server.cluster.forwarder import Forwarder
from sealyard.server.cluster.lease_watch import LeaseWatch
from sealyard.server.cluster.metrics import ClusterMetrics
from sealyard.server.cluster.request_gate import RequestGate
from sealyard.server.cluster.router import ClusterRouter, InternalApp
from sealyard.server.http.listeners import UvicornListener, bind, cluster_listener, network_listener
from sealyard.server.settings import ClusterSettings
from tests.support.limits import TIMEOUT
from tests.support.ports import ReservedPort
from tests.support.tls_certificates import ClusterAuthority

WAIT_SECONDS = 1.0
"""How long requests wait for an active server."""


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


class ForwardingHarness:
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


@asynccontextmanager
async def hung_server(harness: ForwardingHarness) -> AsyncIterator[tuple[int, asyncio.Event]]:
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

    context = ClusterCertificates(harness.settings("hung")).server_context
    sock = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(accept, sock=sock, ssl=context)
    try:
        yield sock.getsockname()[1], received
    finally:
        for writer in connected:
            writer.transport.abort()
        server.close()
