"""Tests of webhooks with an engine on its own thread and the sender on the server's loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealyard.client.http.pinned import post_pinned
from sealyard.client.sharing.socket import SOCKET
from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import Verdict
from sealyard.model.webhooks import WebhookRequest
from sealyard.server.webhooks.sender import WebhookSender
from tests.support.limits import TIMEOUT
from tests.support.running_server import run_service
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, run_server
from tests.support.webhook_receiver import Receiver, Reply, signature_is_valid

pytestmark = pytest.mark.anyio


async def test_signing_task_events_are_delivered(folder: Path) -> None:
    async with Receiver().listen() as receiver, run_server({"acme": folder}) as harness:
        sending = asyncio.create_task(WebhookSender(harness.engine, post_pinned, allow_private=True).run())
        issued = await harness.engine.client(ADMIN).add_webhook(WebhookRequest(url=receiver.url()))
        task = await harness.engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"sign me"))
        await harness.engine.client(OWNER).decide(task.id, Verdict.APPROVED)
        async with asyncio.timeout(TIMEOUT):
            while len(receiver.received) < 3:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.approved", "task.done"]
    assert {each.value["data"]["taskId"] for each in receiver.received} == {task.id}
    assert all(signature_is_valid(each, issued.secret) for each in receiver.received)


async def test_dead_letter_is_redelivered_by_api(folder: Path) -> None:
    async with Receiver().listen() as receiver, run_server({"acme": folder}) as harness:
        receiver.replies.append(Reply(410))
        sending = asyncio.create_task(WebhookSender(harness.engine, post_pinned, allow_private=True).run())
        admin = await harness.http_client(ADMIN)
        created = await admin.post("/api/v1/webhook", json={"url": receiver.url(), "events": ["task.waiting"]})
        assert created.status_code == 201
        webhook = created.json()["webhook"]["id"]
        await harness.engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"sign me"))
        async with asyncio.timeout(TIMEOUT):
            while not (dead_letters := (await admin.get(f"/api/v1/webhook/{webhook}/deadLetter")).json()):
                await asyncio.sleep(0.01)
            redelivery = await admin.post(f"/api/v1/deadLetter/{dead_letters[0]['id']}/redelivery")
            assert redelivery.status_code == 202
            while len(receiver.received) < 2:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert receiver.received[0].id == receiver.received[1].id
    assert all(signature_is_valid(each, created.json()["secret"]) for each in receiver.received)


async def test_server_without_socket_delivers_webhooks(folder: Path) -> None:
    (folder / SOCKET).write_text("occupied")
    async with Receiver().listen() as receiver, run_service(folder, allow_private_webhooks=True) as server:
        issued = await server.engine.client(ADMIN).add_webhook(WebhookRequest(url=receiver.url()))
        await server.engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"sign me"))
        async with asyncio.timeout(TIMEOUT):
            while not receiver.received:
                await asyncio.sleep(0.01)
    assert signature_is_valid(receiver.received[0], issued.secret)
