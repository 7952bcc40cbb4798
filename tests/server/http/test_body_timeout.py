"""Tests of the time limit for request bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from sealyard.server.http import bodies
from tests.support.raw_connection import RawConnection
from tests.support.server_harness import DEV, ServerHarness, run_server

pytestmark = pytest.mark.anyio

UPLOAD_ID = "slow-upload-0000001"


@pytest.fixture(scope="module")
async def harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}) as harness:
        yield harness


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    # Bodies that arrive at once must arrive in time on a busy machine too.
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 1.0)


async def open_request(harness: ServerHarness, path: str, *headers: str) -> RawConnection:
    """Send the head of a PUT or POST request."""
    connection = RawConnection(*await asyncio.open_connection("127.0.0.1", urlsplit(harness.base).port))
    lines = [path, "Host: test", f"Authorization: Bearer {await harness.token(DEV)}", *headers, "", ""]
    await connection.send("\r\n".join(lines).encode())
    return connection


@pytest.mark.parametrize(
    "head",
    [
        ("POST /api/v1/signingTask HTTP/1.1", "Content-Type: application/json", "Content-Length: 100"),
        ("POST /api/v1/packagingTask HTTP/1.1", "Content-Type: application/json", "Content-Length: 100"),
        ("POST /api/v1/packagingTask HTTP/1.1", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 100"),
        (f"PUT /api/v1/upload/{UPLOAD_ID}-1 HTTP/1.1", "Content-Length: 5000000"),
        (f"PUT /api/v1/upload/{UPLOAD_ID}-2?size=9 HTTP/1.1", "Transfer-Encoding: chunked"),
    ],
)
async def test_stalled_body_is_answered_and_closed(
    harness: ServerHarness, short_timeout: None, head: tuple[str, ...]
) -> None:
    connection = await open_request(harness, *head)
    status, response_head, body = await connection.answer()
    assert (status, msgspec.json.decode(body)["code"]) == (408, "request-timeout")
    assert "connection: close" in response_head
    assert await connection.read_all() == b""


async def test_stalled_upload_keeps_received_bytes(harness: ServerHarness, short_timeout: None) -> None:
    connection = await open_request(harness, f"PUT /api/v1/upload/{UPLOAD_ID}-3 HTTP/1.1", "Content-Length: 1000")
    await connection.send(b"x" * 10)
    assert (await connection.answer())[0] == 408
    client = await harness.http_client(DEV)
    assert (await client.get(f"/api/v1/upload/{UPLOAD_ID}-3")).json()["offset"] == 10


async def test_body_at_minimum_rate_is_received(
    harness: ServerHarness, short_timeout: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MIN_BODY_RATE", 1)
    connection = await open_request(harness, f"PUT /api/v1/upload/{UPLOAD_ID}-4 HTTP/1.1", "Content-Length: 20")
    await connection.send(b"x" * 10)  # extends the time by 10 seconds
    stalled = await open_request(harness, f"PUT /api/v1/upload/{UPLOAD_ID}-5 HTTP/1.1", "Content-Length: 20")
    assert (await stalled.answer())[0] == 408
    await connection.send(b"x" * 10)
    assert (await connection.answer())[0] == 201


async def test_time_of_response_is_not_limited(harness: ServerHarness, short_timeout: None) -> None:
    client = await harness.http_client(DEV)
    stalled = await open_request(harness, f"PUT /api/v1/upload/{UPLOAD_ID}-6 HTTP/1.1", "Content-Length: 20")
    async with client.stream("GET", "/api/v1/events") as response:
        assert (await stalled.answer())[0] == 408  # more time than the limit has passed
        upload = await client.put(f"/api/v1/upload/{UPLOAD_ID}-7", content=b"x")
        assert upload.status_code == 201
        assert not response.is_closed
