"""A small application on a listener of ours, and lines to it on which a test writes every byte itself."""

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

WITHIN = 10.0
"""Seconds for what has to happen soon."""

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class RawConnection:
    """``reader`` and ``writer`` are asyncio's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, str, bytes]:
        """Status, head in small letters, and body."""
        async with asyncio.timeout(WITHIN):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((each for each in head.splitlines() if each.startswith("content-length")), ":0")
            return int(head.split()[1]), head, await self.reader.readexactly(int(length.partition(":")[2]))

    async def read_all(self) -> bytes:
        """What comes until the other side closes; it has to."""
        async with asyncio.timeout(WITHIN):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


class Served:
    """``release``: lets ``/held`` answer. ``lost``: set when a body broke off."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.lost = asyncio.Event()
        self.port = 0
        self.listener: UvicornListener
        self._lines: list[RawConnection] = []

    async def line(self, tls: ssl.SSLContext | None = None) -> RawConnection:
        made = RawConnection(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls))
        self._lines.append(made)
        return made

    async def silence(self) -> None:
        """As long as a deadline: returns when it has closed a line that says nothing."""
        line = await self.line()
        assert await line.read_all() == b""

    async def heard(self, count: int) -> None:
        """Returns when the only connection has taken in so many bytes of a head."""
        async with asyncio.timeout(WITHIN):
            while [each._unparsed for each in self.connections()] != [count]:
                await asyncio.sleep(0)

    def connections(self) -> list[LimitedHttpProtocol]:
        return [each for each in self.listener.server_state.connections if isinstance(each, LimitedHttpProtocol)]

    def close(self) -> None:
        for each in self._lines:
            each.writer.close()


@asynccontextmanager
async def served(certificate: TlsCertificate | None = None) -> AsyncIterator[Served]:
    made = Served()
    app = Litestar(_handlers(made), logging_config=None)
    made.listener = network_listener(app, certificate=certificate, proxies="")
    sock = bind("127.0.0.1", 0)
    made.port = sock.getsockname()[1]
    running = asyncio.create_task(made.listener.serve([sock]))
    try:
        yield made
    finally:
        made.close()
        made.release.set()
        made.listener.stop()
        await running


def _handlers(made: Served) -> list[Any]:
    @get("/")
    async def here() -> str:
        return "here"

    @get("/held")
    async def held() -> str:
        await made.release.wait()
        return "held"

    @put("/size")
    async def size(request: Request[Any, Any, Any]) -> str:
        try:
            return str(sum([len(each) async for each in request.stream()]))
        except Exception:
            made.lost.set()
            raise

    return [here, held, size]
