"""A server from beginning to end: where it listens, what it lets through, and how it stops without losing anything."""

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
from tests.support.running_server import RunningServer, run_service, start_error
from tests.support.server_harness import ADMIN, DEV, DONE_WITHIN, GATEWAY, OWNER, create_test_workspace, wait_until

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def large_file(folder: Path, mebibytes: int) -> Path:
    path = folder / "large.bin"
    path.write_bytes(os.urandom(MIB) * mebibytes)
    return path


# ---- where it listens


def test_it_listens_on_this_machine_only_unless_something_else_is_said() -> None:
    host, _ = parse_address(ServerSettings().listen)
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "seal.example"])
def test_plain_http_to_other_machines_wants_tls_or_a_proxy(host: str) -> None:
    with pytest.raises(UsageError, match="TLS required"):
        require_tls_or_loopback(host, tls=False, behind_proxy=False)
    require_tls_or_loopback(host, tls=True, behind_proxy=False)
    require_tls_or_loopback(host, tls=False, behind_proxy=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.7.6", "::1", "localhost"])
def test_plain_http_to_this_machine_wants_nothing(host: str) -> None:
    require_tls_or_loopback(host, tls=False, behind_proxy=False)


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "a:٣"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid address"):
        parse_address(text)


async def test_what_keeps_it_from_starting_leaves_nothing_behind(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = await start_error(folder, listen=f"127.0.0.1:{taken.getsockname()[1]}")
    assert error.message.startswith("Cannot listen on 127.0.0.1:")
    assert error.message.endswith(": Address already in use.")
    assert "TLS required on 0.0.0.0" in (await start_error(folder, listen="0.0.0.0:0")).message
    assert "Unknown group no-such" in (await start_error(folder, socket_group="no-such")).message
    assert "Invalid address" in (await start_error(folder, listen="here")).message


async def test_a_proxy_that_is_declared_opens_other_addresses(folder: Path) -> None:
    async with run_service(folder, listen="0.0.0.0:0", behind_proxy=True) as served:
        port = served.base.rpartition(":")[2]
        assert (await served.anonymous_client().get(f"http://127.0.0.1:{port}/healthz")).status_code == 200


async def test_where_no_socket_can_be_the_network_is_enough(folder: Path) -> None:
    (folder / SOCKET).write_text("mine")
    async with run_service(folder) as served:
        assert (await (await served.http_client(DEV)).get("/api/v1/workspace")).status_code == 200
    assert (folder / SOCKET).read_text() == "mine"


# ---- what it lets through


async def test_tenants_share_a_server_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    await create_test_workspace(tmp_path / "other", "other")
    async with run_service({"acme": folder, "other": tmp_path / "other"}) as served:
        acme, other = await served.http_client(DEV, "acme"), await served.http_client(DEV, "other")
        assert (await acme.get("/api/v1/workspace")).json()["name"] == "yard"
        assert (await other.get("/api/v1/workspace")).json()["name"] == "other"
        crossed = await acme.get("/api/v1/workspace", headers={"X-SE-TENANT": "other"})
        nowhere = await acme.get("/api/v1/workspace", headers={"X-SE-TENANT": "nobody"})
        assert crossed.status_code == nowhere.status_code == 401
        assert crossed.json() == nowhere.json()
        # At a workspace's own socket there is one tenant only, whatever is said.
        for place, name in ((folder, "yard"), (tmp_path / "other", "other")):
            client = connect_to_holder(place, DEV)
            assert (await client.workspace()).name == name
            await client.close()


async def test_bodies_and_rates_have_limits(folder: Path) -> None:
    async with run_service(folder, max_upload_gib=0.001, requests_per_minute=6) as served:
        calls = await served.http_client(DEV)
        large = await calls.put("/api/v1/upload/0123456789abcdef", content=bytes(2 * MIB))
        assert (large.status_code, large.json()["code"]) == (413, "too-large")
        often = await calls.get("/api/v1/workspace")
        assert (often.status_code, often.json()["code"]) == (429, "too-many-requests")
        assert 5 <= int(often.headers["Retry-After"]) <= 10
        assert often.json()["retryAfter"] > 5
        assert (await (await served.http_client(OWNER)).get("/api/v1/workspace")).status_code == 200


# ---- how it stops


async def test_a_stop_leaves_no_lock_and_no_socket_and_ends_streams_of_events(folder: Path) -> None:
    async with run_service(folder) as served:
        calls = await served.http_client(DEV)
        async with calls.stream("GET", "/api/v1/events") as events:
            lines = events.aiter_lines()
            assert (await anext(lines)).startswith("id: ")
            assert await anext(lines) == "event: Cursor"
            assert (await anext(lines)).startswith("data: ")
            await served.service.stop()
            assert [line async for line in lines if line] == []
        with pytest.raises(httpx.ConnectError):
            await calls.get("/healthz")
    assert WorkspaceLock.holder(folder / "lock") is None
    assert not (folder / SOCKET).exists()


async def test_running_work_may_finish_and_meanwhile_all_is_answered_but_that_it_is_ready(
    folder: Path, tmp_path: Path
) -> None:
    async with run_service(folder, shutdown_timeout_seconds=120) as served:
        calls, task_id = await _at_work(served, tmp_path)
        stopping = asyncio.create_task(served.service.stop())

        async def not_ready() -> bool:
            return (await calls.get("/readyz")).status_code == 503

        await wait_until(not_ready, "not ready any more")
        assert (await calls.get("/healthz")).status_code == 200
        assert (await calls.get(f"/api/v1/task/{task_id}")).status_code == 200
        await stopping
    await _require(folder, task_id, TaskStatus.DONE)


async def test_work_that_takes_too_long_is_handed_back_and_goes_on_at_the_next_start(
    folder: Path, tmp_path: Path
) -> None:
    async with run_service(folder, shutdown_timeout_seconds=0) as served:
        _, task_id = await _at_work(served, tmp_path)
        await served.service.stop()
    await _require(folder, task_id, TaskStatus.RUNNING)
    async with run_service(folder) as served:
        done = await served.engine.client(DEV).wait(task_id, within=120)
        assert (done.status, done.reason) == (TaskStatus.DONE, "")


async def test_whoever_is_in_a_hurry_waits_for_nothing_and_all_is_in_order_all_the_same(
    folder: Path, tmp_path: Path
) -> None:
    async with run_service(folder, shutdown_timeout_seconds=3600) as served:
        _, task_id = await _at_work(served, tmp_path)
        calls = await served.http_client(OWNER)
        uploading = asyncio.create_task(_endless(calls))
        hurry = asyncio.Event()
        stopping = asyncio.create_task(served.service.stop(hurry))
        await asyncio.sleep(0)
        hurry.set()
        async with asyncio.timeout(DONE_WITHIN):
            await stopping
        uploading.cancel()
        await asyncio.gather(uploading, return_exceptions=True)
    assert WorkspaceLock.holder(folder / "lock") is None
    assert not (folder / SOCKET).exists()
    await _require(folder, task_id, TaskStatus.RUNNING)


async def test_an_upload_under_way_is_cut_and_goes_on_at_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard.server.http.listeners.ABORT_TIMEOUT", 1)
    content = os.urandom(2 * MIB)
    path = "/api/v1/upload/0123456789abcdef"
    async with run_service(folder) as served:
        calls = await served.http_client(DEV)
        sent = asyncio.Event()

        async def half() -> AsyncIterator[bytes]:
            yield content[:MIB]
            sent.set()
            await asyncio.sleep(3600)

        sending = asyncio.create_task(calls.put(path, params={"size": len(content)}, content=half()))
        await sent.wait()
        await served.service.stop()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    async with run_service(folder) as served:
        calls = await served.http_client(DEV)
        offset = int((await calls.head(path)).headers["Upload-Offset"])
        assert offset == MIB
        rest = await calls.put(path, headers={"Upload-Offset": str(offset)}, content=content[offset:])
        assert (rest.status_code, rest.json()["complete"]) == (200, True)


async def _at_work(served: RunningServer, folder: Path) -> tuple[httpx.AsyncClient, str]:
    """An encryption task of 300 MB that runs, asked for by dev."""
    dev = served.engine.client(DEV)
    file = await dev.upload(large_file(folder, 300))
    task = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file))

    async def running() -> bool:
        return (await dev.task(task.id)).status is TaskStatus.RUNNING

    await wait_until(running, "the task runs")
    return await served.http_client(DEV), task.id


async def _endless(calls: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)

    await calls.put("/api/v1/upload/0123456789abcdef", params={"size": 1 << 30}, content=pieces())


async def _require(folder: Path, task_id: str, status: TaskStatus) -> None:
    reader = await EngineHandle.open_read_only(folder)
    try:
        assert (await reader.client(ADMIN).task(task_id)).status is status
    finally:
        await reader.close()
