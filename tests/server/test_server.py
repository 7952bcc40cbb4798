"""Tests of the server: listening addresses, tenants, limits, and shutdown."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.sharing.socket import SOCKET
from sealyard.client.sharing.workspace import connect_to_holder
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.errors import UsageError
from sealyard.model.requests import EncryptionRequest
from sealyard.model.tasks import TaskStatus
from sealyard.server.http.listeners import is_loopback, parse_address, require_tls_or_loopback
from sealyard.server.settings import ServerSettings
from tests.support.limits import TIMEOUT
from tests.support.running_server import RunningServer, run_service, start_error
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, create_test_workspace, wait_until

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def create_large_file(folder: Path, mebibytes: int) -> Path:
    path = folder / "large.bin"
    path.write_bytes(os.urandom(MIB) * mebibytes)
    return path


# ---- listening addresses


def test_default_address_is_loopback() -> None:
    host, _ = parse_address(ServerSettings().listen)
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "seal.example"])
def test_public_address_requires_tls_or_proxy(host: str) -> None:
    with pytest.raises(UsageError, match="TLS required"):
        require_tls_or_loopback(host, tls=False, behind_proxy=False)
    require_tls_or_loopback(host, tls=True, behind_proxy=False)
    require_tls_or_loopback(host, tls=False, behind_proxy=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.7.6", "::1", "localhost"])
def test_loopback_address_requires_no_tls(host: str) -> None:
    require_tls_or_loopback(host, tls=False, behind_proxy=False)


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "a:٣"])
def test_invalid_address_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid address"):
        parse_address(text)


async def test_failed_start_releases_workspace(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        error = await start_error(folder, listen=f"127.0.0.1:{occupied.getsockname()[1]}")
    assert error.message.startswith("Cannot listen on 127.0.0.1:")
    assert error.message.endswith(": Address already in use.")
    assert "TLS required on 0.0.0.0" in (await start_error(folder, listen="0.0.0.0:0")).message
    assert "Unknown group no-such" in (await start_error(folder, socket_group="no-such")).message
    assert "Invalid address" in (await start_error(folder, listen="here")).message


async def test_declared_proxy_allows_public_address(folder: Path) -> None:
    async with run_service(folder, listen="0.0.0.0:0", behind_proxy=True) as server:
        port = server.base.rpartition(":")[2]
        assert (await server.anonymous_client().get(f"http://127.0.0.1:{port}/healthz")).status_code == 200


async def test_occupied_socket_path_does_not_prevent_start(folder: Path) -> None:
    (folder / SOCKET).write_text("mine")
    async with run_service(folder) as server:
        assert (await (await server.http_client(DEV)).get("/api/v1/workspace")).status_code == 200
    assert (folder / SOCKET).read_text() == "mine"


# ---- tenants and limits


async def test_tenants_are_isolated(folder: Path, tmp_path: Path) -> None:
    await create_test_workspace(tmp_path / "other", "other")
    async with run_service({"acme": folder, "other": tmp_path / "other"}) as server:
        acme, other = await server.http_client(DEV, "acme"), await server.http_client(DEV, "other")
        assert (await acme.get("/api/v1/workspace")).json()["name"] == "yard"
        assert (await other.get("/api/v1/workspace")).json()["name"] == "other"
        foreign = await acme.get("/api/v1/workspace", headers={"X-SE-TENANT": "other"})
        unknown = await acme.get("/api/v1/workspace", headers={"X-SE-TENANT": "unknown"})
        assert foreign.status_code == unknown.status_code == 401
        assert foreign.json() == unknown.json()
        # The socket of a workspace serves that workspace only.
        for path, name in ((folder, "yard"), (tmp_path / "other", "other")):
            client = connect_to_holder(path, DEV)
            assert (await client.workspace()).name == name
            await client.close()


async def test_configured_limits_are_enforced(folder: Path) -> None:
    async with run_service(folder, max_upload_gib=0.001, requests_per_minute=6) as server:
        http = await server.http_client(DEV)
        too_large = await http.put("/api/v1/upload/0123456789abcdef", content=bytes(2 * MIB))
        assert (too_large.status_code, too_large.json()["code"]) == (413, "too-large")
        too_many = await http.get("/api/v1/workspace")
        assert (too_many.status_code, too_many.json()["code"]) == (429, "too-many-requests")
        assert 5 <= int(too_many.headers["Retry-After"]) <= 10
        assert too_many.json()["retryAfter"] > 5
        assert (await (await server.http_client(OWNER)).get("/api/v1/workspace")).status_code == 200


# ---- shutdown


async def test_stop_ends_streams_and_releases_workspace(folder: Path) -> None:
    async with run_service(folder) as server:
        http = await server.http_client(DEV)
        async with http.stream("GET", "/api/v1/events") as events:
            event_lines = events.aiter_lines()
            assert (await anext(event_lines)).startswith("id: ")
            assert await anext(event_lines) == "event: Cursor"
            assert (await anext(event_lines)).startswith("data: ")
            await server.service.stop()
            assert [line async for line in event_lines if line] == []
        with pytest.raises(httpx.ConnectError):
            await http.get("/healthz")
    assert WorkspaceLock.holder(folder / "lock") is None
    assert not (folder / SOCKET).exists()


async def test_stop_waits_for_running_task(folder: Path, tmp_path: Path) -> None:
    async with run_service(folder, shutdown_timeout_seconds=120) as server:
        http, task_id = await _start_encryption(server, tmp_path)
        stopping = asyncio.create_task(server.service.stop())

        async def is_unready() -> bool:
            return (await http.get("/readyz")).status_code == 503

        await wait_until(is_unready, "the server is unready")
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get(f"/api/v1/task/{task_id}")).status_code == 200
        await stopping
    await _check_status(folder, task_id, TaskStatus.DONE)


async def test_task_interrupted_by_stop_is_resumed(folder: Path, tmp_path: Path) -> None:
    async with run_service(folder, shutdown_timeout_seconds=0) as server:
        _, task_id = await _start_encryption(server, tmp_path)
        await server.service.stop()
    await _check_status(folder, task_id, TaskStatus.RUNNING)
    async with run_service(folder) as server:
        done = await server.engine.client(DEV).wait(task_id, within=TIMEOUT)
        assert (done.status, done.reason) == (TaskStatus.DONE, "")


async def test_forced_stop_interrupts_running_task(folder: Path, tmp_path: Path) -> None:
    async with run_service(folder, shutdown_timeout_seconds=3600) as server:
        _, task_id = await _start_encryption(server, tmp_path)
        http = await server.http_client(OWNER)
        uploading = asyncio.create_task(_upload_endlessly(http))
        force_stop = asyncio.Event()
        stopping = asyncio.create_task(server.service.stop(force_stop))
        await asyncio.sleep(0)
        force_stop.set()
        async with asyncio.timeout(TIMEOUT):
            await stopping
        uploading.cancel()
        await asyncio.gather(uploading, return_exceptions=True)
    assert WorkspaceLock.holder(folder / "lock") is None
    assert not (folder / SOCKET).exists()
    await _check_status(folder, task_id, TaskStatus.RUNNING)


async def test_upload_interrupted_by_stop_is_resumed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.server.http.listeners.ABORT_TIMEOUT", 1)
    content = os.urandom(2 * MIB)
    path = "/api/v1/upload/0123456789abcdef"
    async with run_service(folder) as server:
        http = await server.http_client(DEV)
        half_sent = asyncio.Event()

        async def send_half() -> AsyncIterator[bytes]:
            yield content[:MIB]
            half_sent.set()
            await asyncio.sleep(3600)

        sending = asyncio.create_task(http.put(path, params={"size": len(content)}, content=send_half()))
        await half_sent.wait()
        await server.service.stop()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    async with run_service(folder) as server:
        http = await server.http_client(DEV)
        offset = int((await http.head(path)).headers["Upload-Offset"])
        assert offset == MIB
        rest = await http.put(path, headers={"Upload-Offset": str(offset)}, content=content[offset:])
        assert (rest.status_code, rest.json()["complete"]) == (200, True)


async def _start_encryption(server: RunningServer, folder: Path) -> tuple[httpx.AsyncClient, str]:
    """Start an encryption task of 300 MB as dev; return a client and the task's ID."""
    dev = server.engine.client(DEV)
    file = await dev.upload(create_large_file(folder, 300))
    task = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file))

    async def is_running() -> bool:
        return (await dev.task(task.id)).status is TaskStatus.RUNNING

    await wait_until(is_running, "the task runs")
    return await server.http_client(DEV), task.id


async def _upload_endlessly(http: httpx.AsyncClient) -> None:
    async def iter_pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)

    await http.put("/api/v1/upload/0123456789abcdef", params={"size": 1 << 30}, content=iter_pieces())


async def _check_status(folder: Path, task_id: str, status: TaskStatus) -> None:
    reader = await EngineHandle.open_read_only(folder)
    try:
        assert (await reader.client(ADMIN).task(task_id)).status is status
    finally:
        await reader.close()
