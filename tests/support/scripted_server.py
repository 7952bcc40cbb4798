"""An HTTP server whose responses are scripted by the test, including lost connections and lost responses."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import API, Connection, Endpoint, Timeouts
from sealyard.model.requests import WorkspaceInfo
from sealyard.model.tasks import InputFile, Task, TaskKind, TaskStatus
from tests.support.fake_client import FakeClock

TOKEN = "sy_0123abcd_not-for-any-log"
ME = "USER:dev"
QUICK = Timeouts(connect=5.0, read=5.0, transfer=5.0, pool=5.0)


class Exchange:
    """A request and its response."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *rest = head.decode("latin-1").split("\r\n")
        self.method, target, _ = first.split(" ")
        split = urlsplit(target)
        self.path = split.path.removeprefix(API)
        self.query = dict(parse_qsl(split.query))
        self.headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest if each)}
        self._reader = reader
        self._writer = writer

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"

    async def body(self, limit: int | None = None) -> bytes:
        length = int(self.headers.get("content-length", "0"))
        return await self._reader.readexactly(length if limit is None else min(limit, length))

    async def answer(self, value: object = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a response. ``value`` is sent as it is if it is bytes, and as JSON otherwise."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        await self.begin(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.method != "HEAD":
            await self.send(body)

    async def refuse(
        self, status: int, code: str, detail: str = "No.", headers: Mapping[str, str] | None = None
    ) -> None:
        problem = {"status": status, "code": code, "detail": detail, "hint": "Do this."}
        await self.answer(problem, status, headers)

    async def begin(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the head only. The body follows with :meth:`send`, until the connection ends if no length is given."""
        lines = [
            f"HTTP/1.1 {status} Scripted",
            "Connection: close",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def cut(self) -> None:
        """Abort the connection."""
        self._writer.transport.abort()


Handler = Callable[[Exchange], Awaitable[None]]


class ScriptedServer:
    """The server. ``calls`` lists the requests in order."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.calls: list[str] = []
        self.exchanges: list[Exchange] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def start_at(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._serve, path)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            exchange = Exchange(head.removesuffix(b"\r\n\r\n"), reader, writer)
            self.calls.append(exchange.call)
            self.exchanges.append(exchange)
            await self.handler(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[tuple[ScriptedServer, HttpClient]]:
    """Run a server, and a client of it whose pauses take no time."""
    server = ScriptedServer(handler)
    await server.start()
    client = client_of(server.url, **options)
    try:
        yield server, client
    finally:
        await client.close()
        server.stop()


def client_of(
    url: str, *, clock: FakeClock | None = None, retry_timeout: float = 60.0, limits: Timeouts = QUICK, **place: str
) -> HttpClient:
    connection = Connection(Endpoint(**{"url": url, "token": TOKEN, **place}), limits)
    return HttpClient(connection, clock or FakeClock(), retry_timeout=retry_timeout)


INFO = WorkspaceInfo(
    id="w1",
    name="factory",
    location="",
    demo=False,
    subject=ME,
    trust_note="",
    read_only=False,
    key_store="",
    audit_size=0,
    audit_checkpointed=0,
)


def task(task_id: str = "t1", status: TaskStatus = TaskStatus.WAITING, **fields: Any) -> Task:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    defaults: dict[str, Any] = {
        "id": task_id,
        "kind": TaskKind.PACKAGING,
        "status": status,
        "name": "release",
        "config_id": "c1",
        "config_name": "gateway",
        "config_version": 1,
        "created_by": ME,
        "created_at": now,
        "updated_at": now,
        "inputs": (InputFile(name="a.bin", size=1, sha256="00"),),
        "approval_digest": "d1",
    }
    return Task(**{**defaults, **fields})
