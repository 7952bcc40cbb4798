"""Nobody takes memory or a connection for ever before they have asked for something; bodies take their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from sealyard.server.http import protocol as bounded_protocol
from sealyard.server.http.protocol import MAX_HEAD_BYTES, MAX_HEADER_FIELDS
from tests.support.raw_connection import REQUEST, WITHIN, Served, served

pytestmark = pytest.mark.anyio

HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n"
MIB = 1 << 20


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as made:
        yield made


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a moment."""
    monkeypatch.setattr(bounded_protocol, "HEAD_TIMEOUT", 0.2)


# ---- how large


def padded(size: int, head: bytes = HEAD) -> bytes:
    """A whole head of so many bytes."""
    rest = size - len(head) - len(b"X: \r\n\r\n")
    return head + b"X: " + b"x" * rest + b"\r\n\r\n"


async def test_a_head_as_large_as_allowed_is_served_however_it_is_cut(server: Served) -> None:
    head = padded(MAX_HEAD_BYTES)
    line = await server.line()
    for at in range(0, MAX_HEAD_BYTES, 1000):
        await server.heard(at)
        await line.send(head[at : at + 1000])
    assert (await line.answer())[0] == 200
    await line.send(head)
    assert (await line.answer())[0] == 200


async def test_a_head_that_is_too_large_is_refused_while_it_comes_in_many_pieces(server: Served) -> None:
    line = await server.line()
    for count in range(1, MAX_HEAD_BYTES // 1000 + 1):
        await line.send(HEAD + b"X: ".ljust(1000 - len(HEAD), b"x") if count == 1 else b"x" * 1000)
        await server.heard(count * 1000)
    await line.send(b"x" * 1000)
    assert (await line.answer())[0] == 431


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(padded(2 * MAX_HEAD_BYTES), id="whole"),
        pytest.param(HEAD + b"X: " + b"x" * 8 * MIB, id="a value without an end"),
        pytest.param(HEAD + b"x" * 8 * MIB, id="a name without an end"),
        pytest.param(b"GET /" + b"x" * 8 * MIB, id="a path without an end"),
        pytest.param(b"\r\n" * MIB, id="nothing but ends of lines"),
        pytest.param(HEAD + b"a:\r\n" * (MAX_HEADER_FIELDS + 1), id="many tiny fields"),
        pytest.param(HEAD + b"a:\r\n" * 500_000, id="very many tiny fields"),
    ],
)
async def test_a_head_that_is_too_large_is_answered_with_a_problem_and_the_line_is_closed(
    server: Served, soon: None, head: bytes
) -> None:
    line = await server.line()
    sending = asyncio.create_task(line.send(head))
    status, said, body = await line.answer()
    assert await line.read_all() == b""
    await asyncio.gather(sending, return_exceptions=True)
    assert (status, msgspec.json.decode(body)["code"]) == (431, "head-too-large")
    assert "content-type: application/problem+json" in said
    assert "connection: close" in said


async def test_the_second_head_on_a_line_is_measured_too_and_the_body_before_it_is_not(server: Served) -> None:
    line = await server.line()
    for _ in range(3):
        await line.send(b"PUT /size HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % MIB + bytes(MIB))
        assert (await line.answer())[::2] == (200, str(MIB).encode())
    await line.send(padded(MAX_HEAD_BYTES + 100))
    assert (await line.answer())[0] == 431


async def test_a_large_head_takes_nothing_from_the_body_behind_it(server: Served) -> None:
    line = await server.line()
    await line.send(padded(MAX_HEAD_BYTES, b"PUT /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"))
    async with asyncio.timeout(WITHIN):
        while not server.listener.server_state.tasks:
            await asyncio.sleep(0)
    await line.send(b"5\r\n")
    await server.heard(3)
    await line.send(b"bytes\r\n0\r\n\r\n")
    assert (await line.answer())[::2] == (200, b"5")


async def test_many_fields_within_the_limits_are_served(server: Served) -> None:
    line = await server.line()
    await line.send(HEAD + b"a: b\r\n" * (MAX_HEADER_FIELDS - 1) + b"\r\n")
    assert (await line.answer())[0] == 200


@pytest.mark.parametrize("trailer", [b"X: " + b"x" * 8 * MIB, b"a:\r\n" * 500_000])
async def test_a_trailer_that_is_too_large_ends_the_line(server: Served, trailer: bytes) -> None:
    line = await server.line()
    await line.send(b"PUT /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    sending = asyncio.create_task(line.send(trailer))
    assert await line.read_all() == b""
    await asyncio.gather(sending, return_exceptions=True)
    async with asyncio.timeout(WITHIN):
        await server.lost.wait()


async def test_a_refusal_is_never_written_into_an_answer_that_is_under_way(server: Served) -> None:
    line = await server.line()
    await line.send(b"GET /held HTTP/1.1\r\n\r\n")
    sending = asyncio.create_task(line.send(padded(2 * MAX_HEAD_BYTES)))
    assert await line.read_all() == b""
    await asyncio.gather(sending, return_exceptions=True)


# ---- how long


async def test_a_line_that_says_nothing_is_closed(server: Served, soon: None) -> None:
    await server.silence()


@pytest.mark.parametrize("half", [b"G", HEAD, HEAD + b"X: ", b"\r\n"])
async def test_half_a_head_is_closed(server: Served, soon: None, half: bytes) -> None:
    line = await server.line()
    await line.send(half)
    assert await line.read_all() == b""


async def test_byte_after_byte_does_not_put_the_deadline_off(
    server: Served, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "MAX_HEAD_BYTES", 1 << 40)
    line = await server.line()
    await line.send(HEAD + b"X: ")

    async def go_on() -> None:
        while True:
            await line.send(b"x")
            await asyncio.sleep(0)

    going_on = asyncio.create_task(go_on())
    assert await line.read_all() == b""
    going_on.cancel()
    await asyncio.gather(going_on, return_exceptions=True)


@pytest.mark.parametrize("more", [b"\r\n", b"GET", HEAD + b"X: y"])
async def test_half_a_head_behind_an_answer_is_closed(server: Served, soon: None, more: bytes) -> None:
    line = await server.line()
    await line.send(REQUEST)
    assert (await line.answer())[0] == 200
    await line.send(more)
    assert await line.read_all() == b""


async def test_half_a_body_that_nobody_wants_is_closed(server: Served, soon: None) -> None:
    line = await server.line()
    await line.send(b"PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
    assert (await line.answer())[0] == 405
    await line.send(b"x")
    assert await line.read_all() == b""


async def test_a_head_that_comes_slowly_but_in_time_is_served(server: Served) -> None:
    line = await server.line()
    for count, byte in enumerate(REQUEST[:-1], 1):
        await line.send(bytes([byte]))
        await server.heard(count)
    await line.send(REQUEST[-1:])
    assert (await line.answer())[::2] == (200, b"here")


async def test_a_line_is_used_again_after_longer_than_a_head_may_take(server: Served, soon: None) -> None:
    line = await server.line()
    for _ in range(3):
        await line.send(REQUEST)
        assert (await line.answer())[::2] == (200, b"here")
        await server.silence()


async def test_a_line_that_is_not_used_again_is_closed_when_its_keep_alive_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sealyard.server.http.listeners.KEEP_ALIVE_SECONDS", 0.1)
    async with served() as server:
        line = await server.line()
        await line.send(REQUEST)
        assert (await line.answer())[0] == 200
        assert await line.read_all() == b""


# ---- what goes on as before


async def test_a_large_body_may_take_longer_than_a_head(server: Served, soon: None) -> None:
    line = await server.line()
    await line.send(b"PUT /size HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (3 * MIB))
    for _ in range(3):
        await server.silence()
        await line.send(bytes(MIB))
    assert (await line.answer())[::2] == (200, str(3 * MIB).encode())


async def test_a_body_in_chunks_and_its_trailer_may_take_longer_than_a_head(server: Served, soon: None) -> None:
    line = await server.line()
    await line.send(b"PUT /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    await line.send(b"1\r\nx\r\n" * 50_000)
    await server.silence()
    await line.send(b"1\r\nx\r\n" * 50_000 + b"0\r\nX: y\r\n")
    await server.silence()
    await line.send(b"\r\n")
    assert (await line.answer())[::2] == (200, b"100000")


async def test_an_answer_may_take_longer_than_a_head(server: Served, soon: None) -> None:
    line = await server.line()
    await line.send(b"GET /held HTTP/1.1\r\n\r\n")
    await server.silence()
    server.release.set()
    assert (await line.answer())[::2] == (200, b"held")


async def test_who_waits_to_be_told_to_continue_may_wait_longer_than_a_head_may_take(
    server: Served, soon: None
) -> None:
    line = await server.line()
    await line.send(b"PUT /size HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert (await line.answer())[0] == 100
    await server.silence()
    await line.send(b"bytes")
    assert (await line.answer())[::2] == (200, b"5")


async def test_requests_that_are_sent_ahead_are_all_answered_in_their_order(server: Served) -> None:
    line = await server.line()
    await line.send((REQUEST + b"PUT /size HTTP/1.1\r\nContent-Length: 5\r\n\r\nbytes") * 20)
    assert [(await line.answer())[2] for _ in range(40)] == [b"here", b"5"] * 20


async def test_of_too_many_requests_that_are_sent_ahead_the_last_answer_ends_the_line(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "MAX_PIPELINED", 3)
    line = await server.line()
    await line.send(b"GET /held HTTP/1.1\r\n\r\n" * 10)
    server.release.set()
    answers = [await line.answer() for _ in range(4)]
    assert [(status, body) for status, _, body in answers] == [(200, b"held")] * 4
    assert ["connection: close" in head for _, head, _ in answers] == [False, False, False, True]
    assert await line.read_all() == b""
