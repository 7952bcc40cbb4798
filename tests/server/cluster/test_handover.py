"""Test how the active server of a workspace hands over to another one, while clients continue."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from sealyard.client.http.client import HttpClient
from sealyard.model.events import TaskChanged
from sealyard.model.requests import EncryptionRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.webhooks import WebhookEvent, WebhookRequest
from sealyard.server.cluster.member import MemberState
from tests.support.cluster_harness import (
    LEASE_SECONDS,
    ClusterNode,
    ClusterWorkspace,
    connect,
    create_and_approve,
    run_nodes,
    signing_request,
)
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, wait_until
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.anyio


async def test_stop_hands_over(nodes: list[ClusterNode], workspace: ClusterWorkspace) -> None:
    first, second = nodes
    dev, owner, dev_of_first = connect(second), connect(second, OWNER), connect(first)
    tasks = [await create_and_approve(dev, owner, number) for number in range(5)]
    term = workspace.read_term()
    start = time.monotonic()
    stopping = asyncio.create_task(first.stop())
    await first.wait_for(MemberState.HANDING_OVER)
    late_request = asyncio.create_task(dev_of_first.workspace())
    await second.wait_for(MemberState.ACTIVE)
    seconds = time.monotonic() - start
    # A lease that was not released would have to expire first.
    assert seconds < LEASE_SECONDS, f"handed over in {seconds:.2f} s"
    assert (await late_request).subject == DEV
    await stopping
    finished = [await dev.wait(task.id, within=60) for task in tasks]
    assert {task.status for task in finished} == {TaskStatus.DONE}
    assert workspace.read_term() == term + 1
    for client in (dev, owner, dev_of_first):
        await client.close()


async def test_requests_continue_through_handovers(nodes: list[ClusterNode]) -> None:
    """Clients of both servers create tasks while each server is stopped and started again."""
    first, second = nodes
    clients = [connect(first), connect(second)]
    created: list[Task] = []
    stop = asyncio.Event()

    async def create_tasks(client: HttpClient, offset: int) -> None:
        number = offset
        while not stop.is_set():
            created.append(await client.create_signing(signing_request(number)))
            number += 2

    creations = [asyncio.create_task(create_tasks(client, offset)) for offset, client in enumerate(clients)]
    for stopped, successor in ((first, second), (second, first)):
        await stopped.stop()
        await successor.wait_for(MemberState.ACTIVE)
        await stopped.start()
        await stopped.wait_ready()
    stop.set()
    await asyncio.gather(*creations)
    page = await clients[0].tasks(TaskFilter(), limit=1000)
    assert page.total == len(created) == len({task.id for task in created})
    for client in clients:
        await client.close()


async def test_servers_share_anchor(
    workspace: ClusterWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each server continues to sign after another one has moved the freshness anchor on."""
    monkeypatch.setenv("SEALYARD_ANCHORS", str(tmp_path / "anchors"))
    async with run_nodes(workspace, "first", "second") as (first, second):
        dev, owner = connect(first), connect(first, OWNER)
        active, standby = first, second
        for number in range(4):
            task = await create_and_approve(dev, owner, number)
            assert (await dev.wait(task.id, within=60)).status is TaskStatus.DONE
            await active.stop()
            await standby.wait_for(MemberState.ACTIVE)
            await active.start()
            await active.wait_ready()
            active, standby = standby, active
        await dev.close()
        await owner.close()
    assert list((tmp_path / "anchors").iterdir())


async def test_event_stream_resumes_after_handover(nodes: list[ClusterNode]) -> None:
    first, second = nodes
    follower, dev = connect(second), connect(second)
    cursor = await follower.cursor()
    events = follower.events(cursor)
    before = await dev.create_signing(signing_request(1))
    await first.stop()
    after = await dev.create_signing(signing_request(2))
    changed: list[str] = []
    async with asyncio.timeout(60):
        while after.id not in changed:
            event = await anext(events)
            if isinstance(event, TaskChanged):
                changed.append(event.task_id)
    assert changed[0] == before.id
    await events.aclose()
    await follower.close()
    await dev.close()


async def test_upload_and_download_resume_after_handover(nodes: list[ClusterNode], tmp_path: Path) -> None:
    first, second = nodes
    path = tmp_path / "firmware.bin"
    path.write_bytes(os.urandom(1 << 20) * 48)
    dev = connect(second)
    handover: asyncio.Task[None] | None = None

    def hand_over(done: int, _total: int) -> None:
        nonlocal handover
        if handover is None and done > 8 << 20:
            handover = asyncio.get_running_loop().create_task(first.stop())

    file = await dev.upload(path, progress=hand_over)
    assert handover is not None
    await handover
    task = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file))
    task = await dev.wait(task.id, within=60)
    assert task.result is not None
    await first.start()
    await first.wait_ready()
    size = 0
    downloader = connect(first)
    async for chunk in downloader.download(task.id):
        if not size:
            handover = asyncio.create_task(second.stop())
        size += len(chunk)
        await asyncio.sleep(0)
    await handover
    assert size == task.result.size
    for client in (dev, downloader):
        await client.close()


async def test_stop_of_standby_ends_event_streams(nodes: list[ClusterNode]) -> None:
    first, second = nodes
    async with second.http_client() as http, http.stream("GET", "/api/v1/events") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        await second.stop()
        assert [line async for line in lines if line.startswith("event")] == ["event: Cursor"]
    assert first.server.is_active


async def test_webhooks_continue_after_handover(workspace: ClusterWorkspace) -> None:
    """Only the active server sends webhooks."""
    async with (
        Receiver().listen() as receiver,
        run_nodes(workspace, "first", "second", allow_private_webhooks=True) as (first, second),
    ):
        admin, dev = connect(second, ADMIN), connect(second)
        await admin.add_webhook(WebhookRequest(url=receiver.url(), events=(WebhookEvent.TASK_WAITING,)))
        tasks = [await dev.create_signing(signing_request(1))]
        await wait_until(lambda: has_received(receiver, 1), "the webhook is sent")
        await first.stop()
        tasks.append(await dev.create_signing(signing_request(2)))
        await wait_until(lambda: has_received(receiver, 2), "the webhook is sent")
        await admin.close()
        await dev.close()
    assert [each.value["data"]["taskId"] for each in receiver.received] == [task.id for task in tasks]


async def has_received(receiver: Receiver, count: int) -> bool:
    return len(receiver.received) >= count
