"""Test two `sealyard serve` processes of one workspace: the active one is killed, suspended or stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sealyard.cli.exit_codes import ExitCode
from sealyard.client.http.client import HttpClient
from sealyard.model.requests import EncryptionRequest, SigningRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus
from tests.support.cluster_harness import SHORT_LEASE_SECONDS, ClusterProcess, ClusterWorkspace, connect
from tests.support.limits import TIMEOUT
from tests.support.processes import is_running, suspend
from tests.support.server_harness import GATEWAY, wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def processes(workspace: ClusterWorkspace) -> AsyncIterator[list[ClusterProcess]]:
    """Yield the active server and a standby."""
    async with AsyncExitStack() as stack:
        processes = [ClusterProcess(workspace, name) for name in ("first", "second")]
        for process in processes:
            process.start()
            stack.callback(process.close)
            await process.wait_ready()
        yield processes


class Creator:
    """Creates tasks through one server, one after the other, until it is stopped."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self.tasks: list[Task] = []
        self._stopping = False
        self._task = asyncio.create_task(self._run())

    async def wait_for_more(self, count: int) -> None:
        """Wait until ``count`` more tasks are created."""
        expected = len(self.tasks) + count

        async def has_created() -> bool:
            if self._task.done():
                self._task.result()
            return len(self.tasks) >= expected

        await wait_until(has_created, "tasks are created")

    async def stop(self) -> list[Task]:
        self._stopping = True
        await self._task
        return self.tasks

    async def _run(self) -> None:
        while not self._stopping:
            request = SigningRequest(config=GATEWAY, message=b"message", client_token=f"client-token-{len(self.tasks)}")
            self.tasks.append(await self._client.create_signing(request))


async def require_all_created_once(client: HttpClient, created: list[Task]) -> None:
    page = await client.tasks(TaskFilter(), limit=1000)
    assert page.total == len(created) == len({task.id for task in created})


async def test_killed_server_is_replaced(processes: list[ClusterProcess]) -> None:
    first, second = processes
    client = connect(second)
    creator = Creator(client)
    await creator.wait_for_more(5)
    start = time.monotonic()
    first.process.send_signal(signal.SIGKILL)
    await second.wait_ready("?active")
    seconds = time.monotonic() - start
    assert seconds > SHORT_LEASE_SECONDS - 1, f"taken over after {seconds:.2f} s, before the lease can have expired"
    await creator.wait_for_more(5)
    first.process.wait()
    first.start()
    await first.wait_ready()
    await creator.wait_for_more(5)
    await require_all_created_once(connect(first), await creator.stop())


async def test_suspended_server_is_replaced(processes: list[ClusterProcess]) -> None:
    first, second = processes
    client = connect(second)
    creator = Creator(client)
    await creator.wait_for_more(5)
    suspend(first.process.pid)
    await second.wait_ready("?active")
    await creator.wait_for_more(5)
    # It could not release the workspace folder.
    assert first.process.wait(TIMEOUT) == -signal.SIGKILL
    await require_all_created_once(client, await creator.stop())


async def test_resumed_server_answers_no_request_itself(processes: list[ClusterProcess]) -> None:
    """A server that was suspended for longer than its lease, but not replaced yet, acts as a standby at once."""
    first, second = processes
    suspend(second.process.pid)
    suspend(first.process.pid)
    # The time must pass; no other server runs that could show when the lease has expired.
    await asyncio.sleep(SHORT_LEASE_SECONDS)
    first.process.send_signal(signal.SIGCONT)
    async with first.http_client() as http:
        assert (await http.get("/api/v1/workspace")).status_code == 200
    second.process.send_signal(signal.SIGCONT)
    await second.wait_ready()


async def test_stopped_server_hands_over_running_task(processes: list[ClusterProcess], tmp_path: Path) -> None:
    first, second = processes
    path = tmp_path / "firmware.bin"
    path.write_bytes(os.urandom(1 << 20) * 200)
    client = connect(second)
    task = await client.create_encryption(EncryptionRequest(config=GATEWAY, file=await client.upload(path)))

    async def is_running_task() -> bool:
        return (await client.task(task.id)).status is TaskStatus.RUNNING

    await wait_until(is_running_task, "the task runs")
    first.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.process.wait, TIMEOUT) == 0
    assert (await client.wait(task.id, within=TIMEOUT)).status is TaskStatus.DONE
    assert not is_running(first.process.pid)
    await second.wait_ready("?active")


async def test_hangup_reloads_certificates(processes: list[ClusterProcess]) -> None:
    first, _ = processes
    first.process.send_signal(signal.SIGHUP)

    async def is_reloaded() -> bool:
        return "certificates of the cluster reloaded" in first.log_path.read_text()

    await wait_until(is_reloaded, "the certificates are reloaded")


def test_server_without_anchor_is_refused(workspace: ClusterWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are checked before the key store is opened."""
    monkeypatch.delenv("SEALYARD_ANCHORS")
    server = ClusterProcess(workspace, "first")
    server.start()
    assert server.process.wait(TIMEOUT) == ExitCode.USAGE
    assert "freshness anchor" in server.log_path.read_text()
    server.close()
