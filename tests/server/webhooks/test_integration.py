"""Webhooks of an engine on a thread of its own, told from the server's loop."""

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
from tests.support.running_server import run_service
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, run_server
from tests.support.webhook_receiver import Receiver, Reply, signature_is_valid

pytestmark = pytest.mark.anyio

WITHIN = 20.0


async def test_those_outside_hear_of_a_signature_from_asking_to_done(folder: Path) -> None:
    async with Receiver().listen() as receiver, run_server({"yard": folder}) as yard:
        sending = asyncio.create_task(WebhookSender(yard.engine, post_pinned, allow_private=True).run())
        hook = await yard.engine.client(ADMIN).add_webhook(WebhookRequest(url=receiver.url()))
        task = await yard.engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"sign me"))
        await yard.engine.client(OWNER).decide(task.id, Verdict.APPROVED)
        async with asyncio.timeout(WITHIN):
            while len(receiver.received) < 3:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.approved", "task.done"]
    assert {each.value["data"]["taskId"] for each in receiver.received} == {task.id}
    assert all(signature_is_valid(each, hook.secret) for each in receiver.received)


async def test_a_dead_letter_is_seen_and_taken_up_again_by_the_api(folder: Path) -> None:
    async with Receiver().listen() as receiver, run_server({"yard": folder}) as yard:
        receiver.replies.append(Reply(410))
        sending = asyncio.create_task(WebhookSender(yard.engine, post_pinned, allow_private=True).run())
        admin = await yard.http_client(ADMIN)
        made = await admin.post("/api/v1/webhook", json={"url": receiver.url(), "events": ["task.waiting"]})
        assert made.status_code == 201
        hook = made.json()["webhook"]["id"]
        await yard.engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"sign me"))
        async with asyncio.timeout(WITHIN):
            while not (letters := (await admin.get(f"/api/v1/webhook/{hook}/deadLetter")).json()):
                await asyncio.sleep(0.01)
            again = await admin.post(f"/api/v1/deadLetter/{letters[0]['id']}/redelivery")
            assert again.status_code == 202
            while len(receiver.received) < 2:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert receiver.received[0].id == receiver.received[1].id
    assert all(signature_is_valid(each, made.json()["secret"]) for each in receiver.received)


async def test_where_there_can_be_no_socket_those_outside_hear_all_the_same(folder: Path) -> None:
    (folder / SOCKET).write_text("in the way")
    async with Receiver().listen() as receiver, run_service(folder, allow_private_webhooks=True) as served:
        hook = await served.engine.client(ADMIN).add_webhook(WebhookRequest(url=receiver.url()))
        await served.engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"sign me"))
        async with asyncio.timeout(WITHIN):
            while not receiver.received:
                await asyncio.sleep(0.01)
    assert signature_is_valid(receiver.received[0], hook.secret)
