"""A document is fetched whole, from where it was asked for, in time, or not at all."""

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
async def answering(serve: Serve) -> AsyncIterator[str]:
    """A server that reads a request and then does whatever ``serve`` does; its URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await serve(writer)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/document"


def saying(head: str, body: bytes = b"") -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode() + body)

    return serve


async def test_a_document_comes_whole() -> None:
    async with answering(saying("200 OK\r\nContent-Length: 5", b"whole")) as url:
        assert await fetch_document(url) == b"whole"


async def test_one_that_is_too_long_is_not_taken() -> None:
    async with answering(saying("200 OK", b"x" * 1001)) as url:
        with pytest.raises(ServerUnreachableError, match="more than 1000 bytes"):
            await fetch_document(url, max_bytes=1000)
        assert len(await fetch_document(url, max_bytes=1001)) == 1001


@pytest.mark.parametrize("head", ["302 Found\r\nLocation: /elsewhere", "404 Not Found", "500 Oh", "204 No Content"])
async def test_any_other_answer_is_none(head: str) -> None:
    async with answering(saying(head)) as url:
        with pytest.raises(ServerUnreachableError, match=f"returned status {head[:3]}"):
            await fetch_document(url)


async def test_one_that_was_cut_is_not_taken() -> None:
    async with answering(saying("200 OK\r\nContent-Length: 50", b"half")) as url:
        with pytest.raises(ServerUnreachableError):
            await fetch_document(url)


async def test_a_server_that_dribbles_does_not_hold_anybody_up() -> None:
    async def dribble(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with answering(dribble) as url:
        with pytest.raises(ServerUnreachableError, match="in time"):
            await fetch_document(url, within=0.2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "nonsense", "http://", "ftp://127.0.0.1/x"])
async def test_where_nobody_is_there_that_is_told(url: str) -> None:
    with pytest.raises(ServerUnreachableError):
        await fetch_document(url)
