"""Test downloads and uploads with grants against a server that misbehaves."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sealyard.agent import artifact_transfer
from sealyard.agent.artifact_transfer import ArtifactTransfer, PartSizes
from sealyard.agent.object_store import GrantRejectedError, ObjectStoreClient, TransientError
from sealyard.concurrency.backoff import RetryDelays
from sealyard.concurrency.clock import SystemClock
from sealyard.model.errors import ArtifactStoreError, DiskFullError, IntegrityError, SealyardError
from sealyard.model.grants import Grant, InputGrant, ResultGrant
from sealyard.storage.artifacts import FileArtifacts
from tests.support.limits import TIMEOUT

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SECRET = "a-canary-in-a-url"


class Answer(NamedTuple):
    """``body_bytes``: how many bytes of the body are sent before the connection is closed."""

    status: int = 200
    content: bytes = CONTENT
    body_bytes: int | None = None
    ignores_range: bool = False
    location: str = ""


class ObjectServer:
    """A server that answers with the given answers one after the other, and repeats the last one."""

    def __init__(self) -> None:
        self.answers = [Answer()]
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        """Method, path, Range and a signed header of each request."""
        self.bodies: list[bytes] = []
        self.url = ""

    def grant(self, path: str = "object", *, seconds: float = 60) -> Grant:
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        url = f"{self.url}/{path}?X-Amz-Signature={SECRET}"
        return Grant(url=url, headers=(("x-amz-test", "signed"),), expires_at=expires_at)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    state = ObjectServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = self._begin()
            first = 0
            if (range_header := self.headers["Range"]) and not answer.ignores_range and answer.status == 200:
                first = int(range_header.removeprefix("bytes=").rstrip("-"))
            body = answer.content[first:]
            self.send_response(206 if first else answer.status)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(answer.content) - 1}/{len(answer.content)}")
            self._end(answer, body)

        def do_PUT(self) -> None:
            answer = self._begin()
            state.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answer.status)
            self._end(answer, b"")

        def _begin(self) -> Answer:
            state.requests.append((self.command, self.path, self.headers["Range"], self.headers["x-amz-test"]))
            return state.next_answer()

        def _end(self, answer: Answer, body: bytes) -> None:
            if answer.location:
                self.send_header("Location", answer.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: answer.body_bytes])
            if answer.body_bytes is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http_server.server_port}"
    threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    http_server.shutdown()
    http_server.server_close()


@pytest.fixture
def artifacts(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


@pytest.fixture
async def transfer(
    artifacts: FileArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ArtifactTransfer]:
    monkeypatch.setattr(artifact_transfer, "RETRY_DELAYS", RetryDelays((0.001,)))
    client = ObjectStoreClient()
    yield ArtifactTransfer(artifacts, tmp_path / "artifacts", client, SystemClock(), PartSizes(1 << 20, 1 << 20))
    await client.close()


class Renewals:
    """Issues another grant for the same input each time."""

    def __init__(self, server: ObjectServer) -> None:
        self.count = 0
        self._server = server

    def first(self) -> InputGrant:
        return InputGrant(sha256=SHA256, size=len(CONTENT), grant=self._server.grant())

    async def renew(self) -> InputGrant:
        self.count += 1
        return self.first()


async def download(transfer: ArtifactTransfer, server: ObjectServer) -> Renewals:
    renewals = Renewals(server)
    await transfer.download(renewals.first(), renewals.renew)
    return renewals


async def catch(transfer: ArtifactTransfer, server: ObjectServer) -> SealyardError:
    with pytest.raises(SealyardError) as caught:
        await download(transfer, server)
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.to_info()}"
    return caught.value


async def test_download_stores_the_input(
    transfer: ArtifactTransfer, server: ObjectServer, artifacts: FileArtifacts
) -> None:
    await download(transfer, server)
    assert artifacts.open_input(SHA256).read() == CONTENT
    assert server.requests == [("GET", f"/object?X-Amz-Signature={SECRET}", None, "signed")]


async def test_truncated_download_is_resumed(
    transfer: ArtifactTransfer, server: ObjectServer, artifacts: FileArtifacts
) -> None:
    server.answers = [Answer(body_bytes=2 << 20), Answer(status=503, content=b""), Answer()]
    await download(transfer, server)
    assert artifacts.open_input(SHA256).read() == CONTENT
    assert server.requests[0][2] is None
    assert server.requests[2][2] not in (None, "bytes=0-")


async def test_ignored_range_restarts_the_download(
    transfer: ArtifactTransfer, server: ObjectServer, artifacts: FileArtifacts
) -> None:
    server.answers = [Answer(body_bytes=2 << 20), Answer(ignores_range=True)]
    await download(transfer, server)
    assert artifacts.open_input(SHA256).read() == CONTENT


async def test_refused_grant_is_renewed(transfer: ArtifactTransfer, server: ObjectServer) -> None:
    server.answers = [Answer(status=403, content=b"expired"), Answer()]
    assert (await download(transfer, server)).count == 1


async def test_grants_that_are_always_refused_fail(transfer: ArtifactTransfer, server: ObjectServer) -> None:
    server.answers = [Answer(status=403, content=b"denied")]
    assert isinstance(await catch(transfer, server), GrantRejectedError)
    assert len(server.requests) == artifact_transfer.MAX_REJECTIONS + 1


async def test_unavailable_store_fails_after_the_timeout(
    transfer: ArtifactTransfer, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_transfer, "RETRY_SECONDS", 0.0)
    server.answers = [Answer(status=503, content=b"")]
    assert isinstance(await catch(transfer, server), TransientError)


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"x"])
async def test_other_content_is_refused(
    transfer: ArtifactTransfer, server: ObjectServer, artifacts: FileArtifacts, content: bytes
) -> None:
    server.answers = [Answer(content=content)]
    assert isinstance(await catch(transfer, server), IntegrityError)
    assert list(artifacts.stored_inputs()) == []


async def test_redirect_is_not_followed(transfer: ArtifactTransfer, server: ObjectServer) -> None:
    server.answers = [Answer(status=307, content=b"", location=f"{server.url}/elsewhere")]
    assert "redirect" in (await catch(transfer, server)).message
    assert len(server.requests) == 1


async def test_missing_object_fails_at_once(transfer: ArtifactTransfer, server: ObjectServer) -> None:
    server.answers = [Answer(status=404, content=b"")]
    assert "missing" in (await catch(transfer, server)).message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url", ["http://store.example/x", "ftp://127.0.0.1/x", "http://127.0.0.1:99999/x", "https://u:p@h/x", "x", ""]
)
async def test_unsafe_url_is_refused(transfer: ArtifactTransfer, server: ObjectServer, url: str) -> None:
    server.url = url
    assert type(await catch(transfer, server)) is ArtifactStoreError
    assert server.requests == []


async def test_nothing_is_logged_with_the_url(
    transfer: ArtifactTransfer, server: ObjectServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.answers = [Answer(status=503, content=b""), Answer(status=403, content=b""), Answer()]
    await download(transfer, server)
    assert SECRET not in caplog.text


async def test_download_cancelled_at_its_start_leaves_no_file(
    transfer: ArtifactTransfer, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that creates the file cannot be cancelled."""
    has_begun, may_end = threading.Event(), threading.Event()
    mkstemp = tempfile.mkstemp

    def create_late(**arguments: Any) -> tuple[int, str]:
        has_begun.set()
        assert may_end.wait(TIMEOUT)
        return mkstemp(**arguments)

    monkeypatch.setattr(tempfile, "mkstemp", create_late)
    work = asyncio.create_task(download(transfer, server))
    assert await asyncio.to_thread(has_begun.wait, TIMEOUT)
    work.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not [path for path in transfer._folder.rglob("*") if path.is_file()]


async def test_full_disk_is_reported_before_the_download(transfer: ArtifactTransfer) -> None:
    with pytest.raises(DiskFullError):
        transfer.check_free_space(1 << 60)


async def test_result_is_uploaded_in_parts(transfer: ArtifactTransfer, server: ObjectServer, tmp_path: Path) -> None:
    (tmp_path / "result").write_bytes(CONTENT)
    content = await transfer.describe_result(tmp_path / "result")
    assert (content.sha256, content.size, len(content.parts)) == (SHA256, len(CONTENT), 5)
    server.answers = [Answer(), Answer(status=503), Answer(status=403), Answer()]
    renewals = 0

    def issue() -> ResultGrant:
        return ResultGrant(sha256=SHA256, grants=tuple(server.grant(f"part{number}") for number in range(5)))

    async def renew() -> ResultGrant:
        nonlocal renewals
        renewals += 1
        return issue()

    await transfer.upload(tmp_path / "result", content, issue(), renew)
    paths = [path.partition("?")[0] for _, path, _, _ in server.requests]
    assert paths == ["/part0", "/part1", "/part1", "/part1", "/part2", "/part3", "/part4"]
    assert b"".join([server.bodies[0], *server.bodies[3:]]) == CONTENT
    assert renewals == 1


async def test_result_that_exists_already_is_accepted(
    transfer: ArtifactTransfer, server: ObjectServer, tmp_path: Path
) -> None:
    (tmp_path / "result").write_bytes(b"small")
    content = await transfer.describe_result(tmp_path / "result")
    assert content.parts == ()
    server.answers = [Answer(status=412)]
    grant = ResultGrant(sha256=content.sha256, grants=(server.grant(),))

    async def renew() -> ResultGrant:
        raise AssertionError

    await transfer.upload(tmp_path / "result", content, grant, renew)
    assert server.bodies == [b"small"]


async def test_result_that_is_a_link_is_refused(transfer: ArtifactTransfer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "result").symlink_to(tmp_path / "secret")
    with pytest.raises(IntegrityError):
        await transfer.describe_result(tmp_path / "result")
