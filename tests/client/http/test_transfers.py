"""Test uploads and downloads over connections that break."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from sealyard.model.algorithms import KeyType
from sealyard.model.errors import (
    DownloadError,
    InvalidInputError,
    PermissionDeniedError,
    ResultExpiredError,
    ServerUnreachableError,
    TooLargeError,
    UsageError,
)
from sealyard.model.requests import EncryptionRequest, KeyImport, PackageRequest
from sealyard.model.tasks import InputFile, Result, ResultState, TaskStatus
from tests.support.fake_client import FakeClock
from tests.support.scripted_server import Exchange, serving, task

CONTENT = os.urandom(3_000_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class UploadServer:
    """Accepts uploads. ``cuts``: the bytes after which each PUT is cut; -1 loses only the response."""

    def __init__(self, *cuts: int) -> None:
        self.cuts = list(cuts)
        self.files: dict[str, bytes] = {}
        self.offsets: list[int] = []
        self.received = 0
        self.names: list[str] = []
        self.created: list[dict[str, Any]] = []

    async def __call__(self, exchange: Exchange) -> None:
        upload_id = exchange.path.rpartition("/")[2]
        if exchange.method == "POST":
            await self._create(exchange)
        elif exchange.method == "DELETE":
            self.files.pop(upload_id, None)
            await exchange.answer(b"", 204)
        elif exchange.method == "GET" and upload_id not in self.files:
            await exchange.refuse(404, "not-found")
        elif exchange.method == "GET":
            await exchange.answer(self._state(upload_id, exchange))
        else:
            await self._put(upload_id, exchange)

    async def _put(self, upload_id: str, exchange: Exchange) -> None:
        offset = int(exchange.headers["upload-offset"])
        stored = self.files.setdefault(upload_id, b"")
        if offset != len(stored):
            await exchange.refuse(409, "conflict", "Another offset.")
            return
        self.offsets.append(offset)
        self.names.append(exchange.query["name"])
        cut = self.cuts.pop(0) if self.cuts else None
        body = await exchange.body(cut if cut is not None and cut >= 0 else None)
        self.received += len(body)
        self.files[upload_id] = stored + body
        if cut is None:
            await exchange.answer(self._state(upload_id, exchange), 201)
        else:
            exchange.cut()

    async def _create(self, exchange: Exchange) -> None:
        import msgspec

        self.created.append(msgspec.json.decode(await exchange.body()))
        await exchange.answer(task(), 201)

    def _state(self, upload_id: str, exchange: Exchange) -> dict[str, Any]:
        content = self.files[upload_id]
        complete = len(content) == len(CONTENT)
        sha256 = hashlib.sha256(content).hexdigest() if complete else None
        return {"id": upload_id, "offset": len(content), "complete": complete, "sha256": sha256}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "firmware ä.bin"
    file.write_bytes(CONTENT)
    return file


@pytest.mark.parametrize("cuts", [(), (1_000_000,), (0, 1, 2_500_000, 7)])
def test_interrupted_upload_resumes(path: Path, cuts: tuple[int, ...]) -> None:
    upload_server = UploadServer(*cuts)
    reports: list[tuple[int, int]] = []

    async def run() -> None:
        async with serving(upload_server) as (_, client):
            file = await client.upload(path, progress=lambda done, total: reports.append((done, total)))
            assert file == InputFile(name="firmware ä.bin", size=len(CONTENT), sha256=SHA256)
            assert list(upload_server.files.values()) == [CONTENT]
            assert upload_server.received == len(CONTENT)
            assert len(upload_server.offsets) == len(cuts) + 1
            assert upload_server.names[0] == "firmware ä.bin"
            assert reports[-1] == (len(CONTENT), len(CONTENT))

    asyncio.run(run())


def test_lost_response_does_not_repeat_upload(path: Path) -> None:
    upload_server = UploadServer(-1)

    async def run() -> None:
        async with serving(upload_server) as (_, client):
            assert (await client.upload(path)).sha256 == SHA256
            assert upload_server.offsets == [0]

    asyncio.run(run())


def test_task_uses_uploads_in_order(path: Path, tmp_path: Path) -> None:
    upload_server = UploadServer()
    other = tmp_path / "other.bin"
    other.write_bytes(CONTENT[::-1])

    async def run() -> None:
        async with serving(upload_server) as (server, client):
            first, second, metadata = [await client.upload(each) for each in (other, path, path)]
            ids = list(upload_server.files)
            await client.create_package(PackageRequest(config="g", firmware=(second, first), metadata=(metadata,)))
            assert upload_server.created[0]["inputIds"] == [ids[1], ids[0]]
            assert upload_server.created[0]["metadataIds"] == [ids[2]]
            await client.discard_uploads((second,))
            assert list(upload_server.files) == [ids[0], ids[2]]
            server.calls.clear()
            with pytest.raises(InvalidInputError, match="not uploaded in this session"):
                await client.create_encryption(
                    EncryptionRequest(config="g", file=InputFile(name="x", size=1, sha256="0"))
                )
            assert server.calls == []

    asyncio.run(run())


def test_invalid_file_is_rejected_before_upload(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")

    async def run() -> None:
        async with serving(UploadServer()) as (server, client):
            for name, expected in (
                ("missing", "not found"),
                ("empty", "is empty"),
                ("", "directory"),
                ("pipe", "regular"),
            ):
                with pytest.raises(InvalidInputError, match=expected):
                    await client.upload(tmp_path / name)
            assert server.calls == []

    asyncio.run(run())


def test_file_changed_during_upload_is_rejected(path: Path) -> None:
    upload_server = UploadServer()

    def change(_done: int, _total: int) -> None:
        os.utime(path, ns=(0, 0))

    async def run() -> None:
        async with serving(upload_server) as (_, client):
            with pytest.raises(InvalidInputError, match="changed while it was read"):
                await client.upload(path, progress=change)
            assert not any(len(each) == len(CONTENT) for each in upload_server.files.values())

    asyncio.run(run())


def test_upload_digest_mismatch_is_rejected(path: Path) -> None:
    upload_server = UploadServer()

    async def run() -> None:
        async with serving(upload_server) as (_, client):
            with pytest.raises(InvalidInputError, match="SHA-256 mismatch"):
                await client.upload(path, expected_sha256="00" * 32)
            assert not any(len(each) == len(CONTENT) for each in upload_server.files.values())
            assert (await client.upload(path, expected_sha256=SHA256.upper())).sha256 == SHA256

    asyncio.run(run())


def test_error_response_stops_upload(path: Path) -> None:
    async def handler(exchange: Exchange) -> None:
        if exchange.method == "PUT":
            await exchange.refuse(413, "too-large")
        elif exchange.method == "GET":
            await exchange.refuse(404, "not-found")
        else:
            await exchange.answer(b"", 204)

    async def run() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(TooLargeError):
                await client.upload(path)
            assert sum(each.startswith("PUT") for each in server.calls) <= 2

    asyncio.run(run())


def test_upload_progress_is_rate_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[int] = []
    monkeypatch.setattr("sealyard.client.progress.time.monotonic", lambda: 1000.0)

    async def run() -> None:
        async with serving(UploadServer()) as (_, client):
            await client.upload(path, progress=lambda done, _: reports.append(done))

    asyncio.run(run())
    assert len(reports) == 2
    assert reports[-1] == len(CONTENT)


# ---- downloads


class DownloadServer:
    """Serves a result. ``cuts``: the bytes after which each request is cut."""

    def __init__(self, *cuts: int, content: bytes = CONTENT) -> None:
        self.cuts = list(cuts)
        self.content = content
        self.ranges: list[tuple[str, str]] = []

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()}"'

    async def __call__(self, exchange: Exchange) -> None:
        if not exchange.path.endswith("/download"):
            result = Result(state=ResultState.AVAILABLE, sha256=self.etag.strip('"'), size=len(self.content))
            await exchange.answer(task(status=TaskStatus.DONE, result=result))
            return
        requested_range, if_range = exchange.headers.get("range", ""), exchange.headers.get("if-range", "")
        self.ranges.append((requested_range, if_range))
        first = (
            int(requested_range.removeprefix("bytes=").removesuffix("-"))
            if requested_range and if_range in ("", self.etag)
            else 0
        )
        rest = self.content[first:]
        extra = {"Content-Range": f"bytes {first}-{len(self.content) - 1}/{len(self.content)}"} if first else {}
        await exchange.begin(
            206 if first else 200, headers={"Content-Length": str(len(rest)), "ETag": self.etag, **extra}
        )
        if not self.cuts:
            await exchange.send(rest)
            return
        await exchange.send(rest[: self.cuts.pop(0)])
        exchange.cut()


async def _read_all(chunks: Any) -> bytes:
    return b"".join([each async for each in chunks])


@pytest.mark.parametrize("offset", [0, 1_234_567])
def test_interrupted_download_resumes(offset: int) -> None:
    download_server = DownloadServer(700_000, 0, 700_001)

    async def run() -> None:
        async with serving(download_server) as (_, client):
            assert await _read_all(client.download("t1", offset=offset)) == CONTENT[offset:]
            assert len(download_server.ranges) == 4
            assert all(
                if_range == download_server.etag for range_header, if_range in download_server.ranges if range_header
            )
            starts = [int(range_header[6:-1] or 0) for range_header, _ in download_server.ranges if range_header]
            assert starts == sorted(starts)
            assert starts[-1] > 1_000_000

    asyncio.run(run())


def test_download_from_end_is_empty() -> None:
    download_server = DownloadServer()

    async def run() -> None:
        async with serving(download_server) as (_, client):
            assert await _read_all(client.download("t1", offset=len(CONTENT))) == b""
            assert download_server.ranges == []
            with pytest.raises(UsageError):
                await _read_all(client.download("t1", offset=-1))

    asyncio.run(run())


def test_result_changed_during_download_raises() -> None:
    download_server = DownloadServer(1_000_000)

    class ChangingClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            download_server.content = CONTENT[::-1]
            await super().sleep(seconds)

    async def run() -> None:
        async with serving(download_server, clock=ChangingClock()) as (_, client):
            with pytest.raises(DownloadError, match="changed during the download"):
                await _read_all(client.download("t1"))

    asyncio.run(run())


def test_expired_result_is_not_retried() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.refuse(410, "result-expired")

    async def run() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(ResultExpiredError):
                await _read_all(client.download("t1"))
            assert len(server.calls) == 1

    asyncio.run(run())


def test_repeated_interruption_ends_download() -> None:
    async def run() -> None:
        async with serving(DownloadServer(*[0] * 1000)) as (_, client):
            with pytest.raises(ServerUnreachableError):
                await _read_all(client.download("t1"))

    asyncio.run(run())


def test_interrupted_export_is_not_restarted() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.begin(headers={"Content-Length": "100"})
        await exchange.send('{"name":"ä'.encode()[:-1])
        exchange.cut()

    async def run() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(ServerUnreachableError):
                await _read_text(client.export_audit("jsonl"))
            assert len(server.calls) == 1

    asyncio.run(run())


def test_export_keeps_multibyte_characters_intact() -> None:
    text = "ä→🙂\n" * 1000

    async def handler(exchange: Exchange) -> None:
        data = text.encode()
        await exchange.begin(headers={"Content-Length": str(len(data))})
        for start in range(0, len(data), 7):
            await exchange.send(data[start : start + 7])

    async def run() -> None:
        async with serving(handler) as (_, client):
            assert await _read_text(client.export_audit("jsonl")) == text

    asyncio.run(run())


async def _read_text(pieces: Any) -> str:
    return "".join([each async for each in pieces])


# ---- keys


def test_exported_key_is_new_private_file(tmp_path: Path) -> None:
    allowed = True

    async def handler(exchange: Exchange) -> None:
        assert await exchange.body() == b'{"confirmed":true}'
        if allowed:
            await exchange.answer(bytes(range(32)))
        else:
            await exchange.refuse(403, "not-allowed")

    async def run() -> None:
        nonlocal allowed
        async with serving(handler) as (server, client):
            path = tmp_path / "key"
            assert await client.export_device_key("gateway", path, confirmed=True) == path
            assert path.read_bytes() == bytes(range(32))
            assert path.stat().st_mode & 0o777 == 0o600
            with pytest.raises(InvalidInputError, match="Cannot create"):
                await client.export_device_key("gateway", path, confirmed=True)
            assert len(server.calls) == 1
            allowed = False
            with pytest.raises(PermissionDeniedError):
                await client.export_device_key("gateway", tmp_path / "none", confirmed=True)
            assert not (tmp_path / "none").exists()

    asyncio.run(run())


def test_missing_key_file_sends_no_request(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(UploadServer()) as (server, client):
            request = KeyImport(uri="local:a", path=str(tmp_path / "missing"), kind=KeyType.AES_256)
            with pytest.raises(InvalidInputError, match="Cannot read the file"):
                await client.import_key(request)
            assert server.calls == []

    asyncio.run(run())
