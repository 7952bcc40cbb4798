"""Test the download of a document: complete, limited in size, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sealyard.client.http.documents import fetch_document
from sealyard.model.errors import ServerUnreachableError

pytestmark = pytest.mark.anyio

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def run_server(serve: Serve) -> AsyncIterator[str]:
    """Run a server that reads a request and then calls ``serve``. Yields its URL."""

    async def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await serve(writer)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle_connection, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/document"


def respond_with(head: str, body: bytes = b"") -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode() + body)

    return serve


async def test_document_is_returned_whole() -> None:
    async with run_server(respond_with("200 OK\r\nContent-Length: 5", b"whole")) as url:
        assert await fetch_document(url) == b"whole"


async def test_oversized_document_is_rejected() -> None:
    async with run_server(respond_with("200 OK", b"x" * 1001)) as url:
        with pytest.raises(ServerUnreachableError, match="more than 1000 bytes"):
            await fetch_document(url, max_bytes=1000)
        assert len(await fetch_document(url, max_bytes=1001)) == 1001


@pytest.mark.parametrize("head", ["302 Found\r\nLocation: /elsewhere", "404 Not Found", "500 Oh", "204 No Content"])
async def test_other_status_is_rejected(head: str) -> None:
    async with run_server(respond_with(head)) as url:
        with pytest.raises(ServerUnreachableError, match=f"returned status {head[:3]}"):
            await fetch_document(url)


async def test_truncated_document_is_rejected() -> None:
    async with run_server(respond_with("200 OK\r\nContent-Length: 50", b"half")) as url:
        with pytest.raises(ServerUnreachableError):
            await fetch_document(url)


async def test_slow_response_times_out() -> None:
    async def respond_slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with run_server(respond_slowly) as url:
        with pytest.raises(ServerUnreachableError, match="in time"):
            await fetch_document(url, within=0.2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "nonsense", "http://", "ftp://127.0.0.1/x"])
async def test_unreachable_server_raises_error(url: str) -> None:
    with pytest.raises(ServerUnreachableError):
        await fetch_document(url)
