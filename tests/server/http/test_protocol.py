"""Tests of the HTTP/1.1 protocol limits: head size, head timeout, keep-alive and pipelining."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from sealyard.server.http import protocol
from sealyard.server.http.protocol import MAX_HEAD_BYTES, MAX_HEADER_FIELDS
from tests.support.limits import TIMEOUT
from tests.support.raw_connection import REQUEST, ProtocolServer, run_protocol_server

pytestmark = pytest.mark.anyio

HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n"
MIB = 1 << 20


@pytest.fixture
async def server() -> AsyncIterator[ProtocolServer]:
    async with run_protocol_server() as server:
        yield server


@pytest.fixture
def shorten_timeout(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that reduces the head timeout to 0.2 seconds.

    Tests call it after the heads that must arrive in time, because a busy machine may need longer for them.
    """
    return lambda: monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.2)


@pytest.fixture
def short_timeout(shorten_timeout: Callable[[], None]) -> None:
    shorten_timeout()


# ---- size limits


def build_head(size: int, head: bytes = HEAD) -> bytes:
    """Build a complete head of exactly `size` bytes."""
    padding = size - len(head) - len(b"X: \r\n\r\n")
    return head + b"X: " + b"x" * padding + b"\r\n\r\n"


async def test_largest_allowed_head_is_served(server: ProtocolServer) -> None:
    head = build_head(MAX_HEAD_BYTES)
    connection = await server.connect()
    for start in range(0, MAX_HEAD_BYTES, 1000):
        await server.wait_for_head_bytes(start)
        await connection.send(head[start : start + 1000])
    assert (await connection.answer())[0] == 200
    await connection.send(head)
    assert (await connection.answer())[0] == 200


async def test_oversized_head_in_pieces_is_rejected(server: ProtocolServer) -> None:
    connection = await server.connect()
    for count in range(1, MAX_HEAD_BYTES // 1000 + 1):
        await connection.send(HEAD + b"X: ".ljust(1000 - len(HEAD), b"x") if count == 1 else b"x" * 1000)
        await server.wait_for_head_bytes(count * 1000)
    await connection.send(b"x" * 1000)
    assert (await connection.answer())[0] == 431


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(build_head(2 * MAX_HEAD_BYTES), id="whole"),
        pytest.param(HEAD + b"X: " + b"x" * 8 * MIB, id="endless value"),
        pytest.param(HEAD + b"x" * 8 * MIB, id="endless name"),
        pytest.param(b"GET /" + b"x" * 8 * MIB, id="endless path"),
        pytest.param(b"\r\n" * MIB, id="only line ends"),
        pytest.param(HEAD + b"a:\r\n" * (MAX_HEADER_FIELDS + 1), id="many tiny fields"),
        pytest.param(HEAD + b"a:\r\n" * 500_000, id="very many tiny fields"),
    ],
)
async def test_oversized_head_returns_problem_and_closes(
    server: ProtocolServer, short_timeout: None, head: bytes
) -> None:
    connection = await server.connect()
    sending = asyncio.create_task(connection.send(head))
    status, headers, body = await connection.answer()
    assert await connection.read_all() == b""
    await asyncio.gather(sending, return_exceptions=True)
    assert (status, msgspec.json.decode(body)["code"]) == (431, "head-too-large")
    assert "content-type: application/problem+json" in headers
    assert "connection: close" in headers


async def test_head_limit_excludes_preceding_body(server: ProtocolServer) -> None:
    connection = await server.connect()
    for _ in range(3):
        await connection.send(b"PUT /size HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % MIB + bytes(MIB))
        assert (await connection.answer())[::2] == (200, str(MIB).encode())
    await connection.send(build_head(MAX_HEAD_BYTES + 100))
    assert (await connection.answer())[0] == 431


async def test_body_after_largest_head_is_served(server: ProtocolServer) -> None:
    connection = await server.connect()
    await connection.send(build_head(MAX_HEAD_BYTES, b"PUT /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"))
    await server.wait_until_handled()
    await connection.send(b"5\r\n")
    await server.wait_for_head_bytes(3)
    await connection.send(b"bytes\r\n0\r\n\r\n")
    assert (await connection.answer())[::2] == (200, b"5")


async def test_maximum_header_fields_are_served(server: ProtocolServer) -> None:
    connection = await server.connect()
    await connection.send(HEAD + b"a: b\r\n" * (MAX_HEADER_FIELDS - 1) + b"\r\n")
    assert (await connection.answer())[0] == 200


@pytest.mark.parametrize("trailer", [b"X: " + b"x" * 8 * MIB, b"a:\r\n" * 500_000])
async def test_oversized_trailer_closes_connection(server: ProtocolServer, trailer: bytes) -> None:
    connection = await server.connect()
    await connection.send(b"PUT /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    sending = asyncio.create_task(connection.send(trailer))
    assert await connection.read_all() == b""
    await asyncio.gather(sending, return_exceptions=True)
    async with asyncio.timeout(TIMEOUT):
        await server.lost.wait()


async def test_oversized_pipelined_head_does_not_corrupt_response(server: ProtocolServer) -> None:
    connection = await server.connect()
    await connection.send(b"GET /held HTTP/1.1\r\n\r\n")
    sending = asyncio.create_task(connection.send(build_head(2 * MAX_HEAD_BYTES)))
    assert await connection.read_all() == b""
    await asyncio.gather(sending, return_exceptions=True)


# ---- timeouts


async def test_idle_connection_is_closed_after_timeout(server: ProtocolServer, short_timeout: None) -> None:
    await server.wait_for_header_timeout()


@pytest.mark.parametrize("partial_head", [b"G", HEAD, HEAD + b"X: ", b"\r\n"])
async def test_incomplete_head_is_closed_after_timeout(
    server: ProtocolServer, short_timeout: None, partial_head: bytes
) -> None:
    connection = await server.connect()
    await connection.send(partial_head)
    assert await connection.read_all() == b""


async def test_slow_bytes_do_not_extend_deadline(
    server: ProtocolServer, short_timeout: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_HEAD_BYTES", 1 << 40)
    connection = await server.connect()
    await connection.send(HEAD + b"X: ")

    async def send_bytes() -> None:
        while True:
            await connection.send(b"x")
            await asyncio.sleep(0)

    sending = asyncio.create_task(send_bytes())
    assert await connection.read_all() == b""
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("partial", [b"\r\n", b"GET", HEAD + b"X: y"])
async def test_incomplete_second_head_is_closed(
    server: ProtocolServer, shorten_timeout: Callable[[], None], partial: bytes
) -> None:
    connection = await server.connect()
    await connection.send(REQUEST)
    assert (await connection.answer())[0] == 200
    shorten_timeout()
    await connection.send(partial)
    assert await connection.read_all() == b""


async def test_incomplete_unread_body_is_closed(server: ProtocolServer, shorten_timeout: Callable[[], None]) -> None:
    connection = await server.connect()
    await connection.send(b"PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
    assert (await connection.answer())[0] == 405
    shorten_timeout()
    await connection.send(b"x")
    assert await connection.read_all() == b""


async def test_slow_head_within_timeout_is_served(server: ProtocolServer) -> None:
    connection = await server.connect()
    for count, byte in enumerate(REQUEST[:-1], 1):
        await connection.send(bytes([byte]))
        await server.wait_for_head_bytes(count)
    await connection.send(REQUEST[-1:])
    assert (await connection.answer())[::2] == (200, b"here")


async def test_keep_alive_exceeds_head_timeout(server: ProtocolServer, shorten_timeout: Callable[[], None]) -> None:
    connection = await server.connect()
    for _ in range(3):
        await connection.send(REQUEST)
        assert (await connection.answer())[::2] == (200, b"here")
        shorten_timeout()
        await server.wait_for_header_timeout()


async def test_idle_keep_alive_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sealyard.server.http.listeners.KEEP_ALIVE_SECONDS", 0.1)
    async with run_protocol_server() as server:
        connection = await server.connect()
        await connection.send(REQUEST)
        assert (await connection.answer())[0] == 200
        assert await connection.read_all() == b""


# ---- unaffected requests


async def test_slow_body_may_exceed_head_timeout(server: ProtocolServer, shorten_timeout: Callable[[], None]) -> None:
    connection = await server.connect()
    await connection.send(b"PUT /size HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (3 * MIB))
    await server.wait_until_handled()
    shorten_timeout()
    for _ in range(3):
        await server.wait_for_header_timeout()
        await connection.send(bytes(MIB))
    assert (await connection.answer())[::2] == (200, str(3 * MIB).encode())


async def test_chunked_body_may_exceed_head_timeout(
    server: ProtocolServer, shorten_timeout: Callable[[], None]
) -> None:
    connection = await server.connect()
    await connection.send(b"PUT /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    await server.wait_until_handled()
    shorten_timeout()
    await connection.send(b"1\r\nx\r\n" * 50_000)
    await server.wait_for_header_timeout()
    await connection.send(b"1\r\nx\r\n" * 50_000 + b"0\r\nX: y\r\n")
    await server.wait_for_header_timeout()
    await connection.send(b"\r\n")
    assert (await connection.answer())[::2] == (200, b"100000")


async def test_slow_response_may_exceed_head_timeout(
    server: ProtocolServer, shorten_timeout: Callable[[], None]
) -> None:
    connection = await server.connect()
    await connection.send(b"GET /held HTTP/1.1\r\n\r\n")
    await server.wait_until_handled()
    shorten_timeout()
    await server.wait_for_header_timeout()
    server.release.set()
    assert (await connection.answer())[::2] == (200, b"held")


async def test_expect_continue_may_exceed_head_timeout(
    server: ProtocolServer, shorten_timeout: Callable[[], None]
) -> None:
    connection = await server.connect()
    await connection.send(b"PUT /size HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert (await connection.answer())[0] == 100
    shorten_timeout()
    await server.wait_for_header_timeout()
    await connection.send(b"bytes")
    assert (await connection.answer())[::2] == (200, b"5")


async def test_pipelined_requests_are_answered_in_order(server: ProtocolServer) -> None:
    connection = await server.connect()
    await connection.send((REQUEST + b"PUT /size HTTP/1.1\r\nContent-Length: 5\r\n\r\nbytes") * 20)
    assert [(await connection.answer())[2] for _ in range(40)] == [b"here", b"5"] * 20


async def test_too_many_pipelined_requests_close_connection(
    server: ProtocolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_PIPELINED", 3)
    connection = await server.connect()
    await connection.send(b"GET /held HTTP/1.1\r\n\r\n" * 10)
    server.release.set()
    answers = [await connection.answer() for _ in range(4)]
    assert [(status, body) for status, _, body in answers] == [(200, b"held")] * 4
    assert ["connection: close" in head for _, head, _ in answers] == [False, False, False, True]
    assert await connection.read_all() == b""
