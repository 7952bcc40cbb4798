"""Uploads over HTTP on a real server: tus and raw PUT, limits, offsets, breaks, and whose they are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sealyard.model.audit import AuditFilter
from sealyard.server.http import bodies as streams
from tests.support.multipart_builder import FORM_TYPE
from tests.support.server_harness import ADMIN, DEV, OWNER, ServerHarness, run_server, wait_until

pytestmark = pytest.mark.anyio

ID = "an-upload-of-mine"
AT = f"/api/v1/upload/{ID}"
CONTENT = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LARGEST = 1 << 20
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
async def yard(folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}, largest_upload=LARGEST) as yard:
        yield yard


@pytest.fixture
async def calls(yard: ServerHarness) -> httpx.AsyncClient:
    return await yard.http_client(DEV)


def stored(folder: Path) -> list[str]:
    return [each.name for each in (folder / "artifacts" / "inputs").rglob("*") if each.is_file()]


def left(folder: Path) -> list[Path]:
    return list((folder / "artifacts" / "uploads").iterdir())


def piece(offset: int) -> dict[str, str]:
    return {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}


async def begun(calls: httpx.AsyncClient, length: int = len(CONTENT), **metadata: str) -> str:
    """The location of a new upload by tus."""
    pairs = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())
    headers = {**TUS, "Upload-Length": str(length), **({"Upload-Metadata": pairs} if pairs else {})}
    answer = await calls.post("/api/v1/upload", headers=headers)
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "0"), answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert (answer.json()["size"], answer.json()["offset"]) == (length, 0)
    return answer.headers["location"]


async def test_a_file_is_put_whole(calls: httpx.AsyncClient, folder: Path) -> None:
    answer = await calls.put(AT, params={"name": "düne.bin", "sha256": SHA256}, content=CONTENT)
    assert answer.status_code == 201
    expected = {
        "id": ID,
        "name": "düne.bin",
        "size": len(CONTENT),
        "offset": len(CONTENT),
        "sha256": SHA256,
        "complete": True,
    }
    assert answer.json() == expected
    assert (await calls.get(AT)).json() == expected
    assert stored(folder) == [SHA256]


async def test_a_file_is_sent_by_tus_in_pieces(calls: httpx.AsyncClient, folder: Path) -> None:
    place = await begun(calls, filename="firmware.bin", sha256=SHA256)
    assert place.startswith("/api/v1/upload/")
    for offset in range(0, len(CONTENT), 100_000):
        answer = await calls.head(place, headers=TUS)
        assert answer.status_code == 200
        assert (answer.headers["upload-offset"], answer.headers["upload-length"]) == (str(offset), str(len(CONTENT)))
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers.get("content-length", "0") == "0"
        assert answer.headers["tus-resumable"] == "1.0.0"
        answer = await calls.patch(place, headers=piece(offset), content=CONTENT[offset : offset + 100_000])
        assert answer.status_code == 204
        assert answer.headers["upload-offset"] == str(min(offset + 100_000, len(CONTENT)))
    assert (await calls.get(place)).json()["sha256"] == SHA256
    assert stored(folder) == [SHA256]


async def test_a_put_goes_on_from_an_offset(calls: httpx.AsyncClient) -> None:
    first = await calls.put(AT, params={"size": len(CONTENT)}, content=CONTENT[:1000])
    assert (first.status_code, first.json()["offset"], first.json()["complete"]) == (201, 1000, False)
    second = await calls.put(AT, headers={"Upload-Offset": "1000"}, content=CONTENT[1000:])
    assert (second.status_code, second.json()["sha256"]) == (200, SHA256)


async def test_a_body_in_chunks_says_its_size_beforehand(calls: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield CONTENT[:5]
        yield CONTENT[5:]

    answer = await calls.put(AT, content=chunks())
    assert (answer.status_code, answer.json()["code"]) == (400, "usage")
    answer = await calls.put(AT, params={"size": len(CONTENT)}, content=chunks())
    assert answer.json()["sha256"] == SHA256


async def test_a_body_that_breaks_off_is_gone_on_with(yard: ServerHarness, calls: httpx.AsyncClient) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield CONTENT[:70_000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await calls.put(AT, headers={"Content-Length": str(len(CONTENT))}, content=breaking())

    async def kept() -> bool:
        answer = await (await yard.http_client(DEV)).head(AT)
        return answer.status_code == 200 and answer.headers["upload-offset"] == "70000"

    await wait_until(kept, "what came is kept")
    answer = await (await yard.http_client(DEV)).patch(AT, headers=piece(70_000), content=CONTENT[70_000:])
    assert answer.status_code == 204
    assert (await (await yard.http_client(DEV)).get(AT)).json()["sha256"] == SHA256


async def test_a_request_takes_over_from_one_that_hangs(yard: ServerHarness, calls: httpx.AsyncClient) -> None:
    place = await begun(calls)
    hanging, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> AsyncIterator[bytes]:
        yield b""
        hanging.set()
        await go_on.wait()
        yield b"too late"

    first = asyncio.create_task((await yard.http_client(DEV)).patch(place, headers=piece(0), content=hang()))
    await hanging.wait()
    answer = await (await yard.http_client(DEV)).patch(place, headers=piece(0), content=CONTENT)
    assert answer.headers["upload-offset"] == str(len(CONTENT))
    go_on.set()
    assert (await first).status_code in (400, 409)


async def test_a_wrong_offset_is_told_the_right_one(calls: httpx.AsyncClient) -> None:
    place = await begun(calls)
    await calls.patch(place, headers=piece(0), content=CONTENT[:500])
    for offset in (0, 499, 501):
        answer = await calls.patch(place, headers=piece(offset), content=b"x")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "at byte 500" in answer.json()["detail"]
    assert (await calls.put(AT, headers={"Upload-Offset": "7"}, content=b"x")).status_code == 404


async def test_to_others_an_upload_does_not_exist(yard: ServerHarness, calls: httpx.AsyncClient) -> None:
    await calls.put(AT, params={"size": len(CONTENT)}, content=CONTENT[:10])
    others = await yard.http_client(OWNER)
    answers = [
        await others.get(AT),
        await others.head(AT),
        await others.patch(AT, headers=piece(10), content=CONTENT[10:]),
        await others.put(AT, headers={"Upload-Offset": "10"}, content=CONTENT[10:]),
        await others.delete(AT),
    ]
    assert {each.status_code for each in answers} == {404}
    assert (await others.put(AT, content=b"their own")).json()["size"] == 9
    assert (await calls.get(AT)).json()["offset"] == 10


async def test_a_dropped_upload_is_gone(calls: httpx.AsyncClient, folder: Path) -> None:
    await calls.put(AT, content=CONTENT)
    assert (await calls.delete(AT)).status_code == 204
    assert (await calls.delete(AT)).status_code == 404
    assert (stored(folder), left(folder)) == ([], [])


@pytest.mark.parametrize(
    ("params", "content", "words"),
    [
        ({"sha256": "0" * 64}, CONTENT, "SHA-256 mismatch"),
        ({"size": "10"}, CONTENT, "longer than the declared 10 bytes"),
        ({}, b"", "empty"),
        ({"name": "n" * 256}, CONTENT, "255 characters"),
    ],
)
async def test_a_file_that_is_refused_leaves_nothing_but_a_line_in_the_log(
    yard: ServerHarness, calls: httpx.AsyncClient, folder: Path, params: dict[str, str], content: bytes, words: str
) -> None:
    answer = await calls.put(AT, params=params, content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "input")
    assert words in answer.json()["detail"]
    assert (stored(folder), left(folder)) == ([], [])
    assert (await calls.get(AT)).status_code == 404
    page = await yard.engine.client(ADMIN).audit(AuditFilter(author=DEV, resource="INPUT"))
    assert [words in each.message for each in page.entries] == [True]


async def test_more_than_is_taken_is_refused_at_once(calls: httpx.AsyncClient, folder: Path) -> None:
    place = await begun(calls)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    answers = [
        await calls.put(AT, content=bytes(LARGEST + 1)),
        await calls.put(AT, params={"size": LARGEST + 1}, content=b"x"),
        await calls.post("/api/v1/upload", headers={"Upload-Length": str(LARGEST + 1)}),
        await calls.patch(place, headers=piece(0), content=bytes(LARGEST + 1)),
        await calls.post("/api/v1/packagingTask", headers=form, content=bytes(LARGEST + 1)),
    ]
    assert {(each.status_code, each.json()["code"]) for each in answers} == {(413, "too-large")}
    assert (await calls.head(place)).headers["upload-offset"] == "0"
    assert stored(folder) == []


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"PATCH {AT} HTTP/1.1\r\nUpload-Offset: 7\r\nContent-Type: application/offset+octet-stream", 409),
        (f"PUT {AT} HTTP/1.1\r\nUpload-Offset: 0", 400),
        (f"PUT /api/v1/upload/another-upload-of-mine?size={LARGEST} HTTP/1.1\r\nX: y", 413),
        (f"POST /api/v1/packagingTask HTTP/1.1\r\nContent-Type: {FORM_TYPE}", 400),
        ("PUT /api/v1/policy HTTP/1.1\r\nContent-Type: application/json", 413),
        (f"PUT {AT} HTTP/1.1\r\nAuthorization: Bearer nobody's", 401),
    ],
)
async def test_a_body_without_an_end_is_answered_and_cut(
    yard: ServerHarness, calls: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, head: str, status: int
) -> None:
    monkeypatch.setattr(streams, "LINGER_TIMEOUT", 0.1)
    await calls.put(AT, params={"size": len(CONTENT)}, content=b"")
    token = "" if "Authorization" in head else f"\r\nAuthorization: {calls.headers['authorization']}"
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(yard.base).port)
    writer.write(f"{head}{token}\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n".encode())

    async def send_for_ever() -> None:
        while True:
            writer.write(b"10000\r\n" + CONTENT[: 1 << 16] + b"\r\n")
            await writer.drain()

    sending = asyncio.create_task(send_for_ever())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    with pytest.raises(ConnectionError):
        await sending
    writer.close()
    assert answer.startswith(f"http/1.1 {status} ")
    assert "connection: close" in answer


async def test_who_sends_a_large_body_in_vain_is_told_why(calls: httpx.AsyncClient) -> None:
    answer = await calls.put(AT, content=bytes(32 * LARGEST))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_a_connection_is_used_again_after_a_small_body_that_nobody_wanted(calls: httpx.AsyncClient) -> None:
    refused = await calls.patch(AT, headers=piece(0), content=bytes(100_000))
    assert refused.status_code == 404
    assert "connection" not in refused.headers


async def test_what_makes_no_sense_is_refused(calls: httpx.AsyncClient) -> None:
    place = await begun(calls)
    metadata = {"Upload-Length": "5", "Upload-Metadata": "filename not*base64"}
    answers = [
        (400, await calls.post("/api/v1/upload")),
        (400, await calls.post("/api/v1/upload", headers={"Upload-Length": "-5"})),
        (400, await calls.post("/api/v1/upload", headers={"Upload-Length": "five"})),
        (400, await calls.post("/api/v1/upload", headers=metadata)),
        (400, await calls.put("/api/v1/upload/short", content=CONTENT)),
        (400, await calls.put(AT, params={"sha256": "no digest"}, content=CONTENT)),
        (400, await calls.patch(place, headers={"Content-Type": "application/offset+octet-stream"}, content=b"x")),
        (415, await calls.patch(place, headers={"Upload-Offset": "0"}, content=b"x")),
        (412, await calls.head(place, headers={"Tus-Resumable": "0.2.2"})),
        (404, await calls.head("/api/v1/upload/not-there-at-all-00")),
    ]
    assert [each.status_code for _, each in answers] == [status for status, _ in answers]


async def test_another_version_of_tus_is_told_which_is_spoken(calls: httpx.AsyncClient) -> None:
    answer = await calls.post("/api/v1/upload", headers={"Tus-Resumable": "0.2.2", "Upload-Length": "5"})
    assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 412


async def test_options_say_what_is_spoken(calls: httpx.AsyncClient) -> None:
    answer = await calls.options("/api/v1/upload")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,termination"
    assert answer.headers["tus-max-size"] == str(LARGEST)


async def test_the_document_tells_of_headers_and_bodies(yard: ServerHarness) -> None:
    paths = (await yard.anonymous_client().get("/openapi.json")).json()["paths"]
    one = paths["/api/v1/upload/{upload_id}"]
    assert list(one["patch"]["requestBody"]["content"]) == ["application/offset+octet-stream"]
    assert list(one["put"]["requestBody"]["content"]) == ["application/octet-stream"]
    assert "Upload-Offset" in [each["name"] for each in one["patch"]["parameters"]]
    assert set(one["head"]["responses"]["200"]["headers"]) == {"Upload-Offset", "Upload-Length"}
    assert "Upload-Length" in [each["name"] for each in paths["/api/v1/upload"]["post"]["parameters"]]


async def test_uploads_are_there_after_a_restart_of_the_server(folder: Path) -> None:
    async with run_server({"one": folder}) as yard:
        calls = await yard.http_client(DEV)
        await calls.put(AT, params={"size": len(CONTENT)}, content=CONTENT[:1000])
        await calls.put("/api/v1/upload/another-upload-of-mine", content=b"whole")
    async with run_server({"one": folder}) as yard:
        calls = await yard.http_client(DEV)
        assert (await calls.head(AT)).headers["upload-offset"] == "1000"
        assert (await calls.get("/api/v1/upload/another-upload-of-mine")).json()["complete"]
        await calls.patch(AT, headers=piece(1000), content=CONTENT[1000:])
        assert (await calls.get(AT)).json()["sha256"] == SHA256
