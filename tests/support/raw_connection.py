"""A small application on a network listener, and raw connections on which a test writes each byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, get, put

from sealyard.server.http.listeners import UvicornListener, bind, network_listener
from sealyard.server.http.protocol import LimitedHttpProtocol
from sealyard.server.http.tls import TlsCertificate
from tests.support.limits import TIMEOUT

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class RawConnection:
    """A connection with an asyncio ``reader`` and ``writer``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, str, bytes]:
        """Read a response: status, lower-case head, and body."""
        async with asyncio.timeout(TIMEOUT):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((each for each in head.splitlines() if each.startswith("content-length")), ":0")
            return int(head.split()[1]), head, await self.reader.readexactly(int(length.partition(":")[2]))

    async def read_all(self) -> bytes:
        """Read until the peer closes the connection."""
        async with asyncio.timeout(TIMEOUT):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


class ProtocolServer:
    """A running server. ``release`` lets ``/held`` respond; ``lost`` is set when a request body is incomplete."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.lost = asyncio.Event()
        self.port = 0
        self.listener: UvicornListener
        self._connections: list[RawConnection] = []

    async def connect(self, tls: ssl.SSLContext | None = None) -> RawConnection:
        connection = RawConnection(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls))
        self._connections.append(connection)
        return connection

    async def wait_for_header_timeout(self) -> None:
        """Wait until the server closes an idle connection, which takes one header timeout."""
        connection = await self.connect()
        assert await connection.read_all() == b""

    async def wait_until_handled(self) -> None:
        """Wait until the server handles a request, whose head has arrived."""
        async with asyncio.timeout(TIMEOUT):
            while not self.listener.server_state.tasks:
                await asyncio.sleep(0)

    async def wait_for_head_bytes(self, count: int) -> None:
        """Wait until the only connection has received ``count`` bytes of a request head."""
        async with asyncio.timeout(TIMEOUT):
            while [each._unparsed_bytes for each in self.connections()] != [count]:
                await asyncio.sleep(0)

    def connections(self) -> list[LimitedHttpProtocol]:
        return [each for each in self.listener.server_state.connections if isinstance(each, LimitedHttpProtocol)]

    def close(self) -> None:
        for connection in self._connections:
            connection.writer.close()


@asynccontextmanager
async def run_protocol_server(certificate: TlsCertificate | None = None) -> AsyncIterator[ProtocolServer]:
    server = ProtocolServer()
    app = Litestar(_handlers(server), logging_config=None)
    server.listener = network_listener(app, certificate=certificate, proxies="")
    sock = bind("127.0.0.1", 0)
    server.port = sock.getsockname()[1]
    serve_task = asyncio.create_task(server.listener.serve([sock]))
    try:
        yield server
    finally:
        server.close()
        server.release.set()
        server.listener.stop()
        await serve_task


def _handlers(server: ProtocolServer) -> list[Any]:
    @get("/")
    async def here() -> str:
        return "here"

    @get("/held")
    async def held() -> str:
        await server.release.wait()
        return "held"

    @put("/size")
    async def size(request: Request[Any, Any, Any]) -> str:
        try:
            return str(sum([len(each) async for each in request.stream()]))
        except Exception:
            server.lost.set()
            raise

    return [here, held, size]
