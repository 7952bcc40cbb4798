"""Test that links, tokens, uploads and webhooks of a workspace keep working after a move."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from sealyard.engine.webhooks.registry import SECRET_PREFIX
from sealyard.model.credentials import TokenRequest
from sealyard.model.tasks import TaskStatus
from sealyard.model.webhooks import WebhookEvent, WebhookRequest
from tests.support.engine_harness import ADMIN, DEV, EngineHarness
from tests.support.moves import move
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]

UPLOAD = "an-upload-of-a-client"
CONTENT = b"firmware that is uploaded in two parts"


async def send(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_credentials_keep_working(harness: EngineHarness, database: TestDatabase) -> None:
    """Moves there and back, with the same link, token, client token, upload and webhook all the time."""
    done = await harness.done_package(b"a container")
    assert done.result is not None
    link = done.result.link
    assert link is not None
    issued = await harness.execute(ADMIN, harness.engine.tokens.create(ADMIN, TokenRequest(name="ci", seconds=3600)))
    request = WebhookRequest(url="https://192.0.2.7/hook", events=(WebhookEvent.TASK_WAITING,))
    webhook = await harness.execute(ADMIN, harness.engine.webhooks.add(ADMIN, request))
    firmware = (await harness.upload(),)
    task = await harness.package(firmware=firmware, client_token="build-7")
    await harness.engine.uploads.create(DEV, UPLOAD, "firmware.bin", len(CONTENT))
    received = 10
    await harness.engine.uploads.write(DEV, UPLOAD, 0, send(CONTENT[:received]))
    for target in (database, None):
        await move(harness, target)
        engine = harness.engine
        assert b"".join([chunk async for chunk in engine.delivery.download_by_link(link, 0)]) == b"a container"
        assert engine.tokens.authenticate(issued.secret).id == issued.token.id
        assert (await harness.package(firmware=firmware, client_token="build-7")).id == task.id
        assert engine.uploads.get(DEV, UPLOAD).offset == received
        await engine.uploads.write(DEV, UPLOAD, received, send(CONTENT[received : received + 10]))
        received += 10
        delivery = await engine.webhook_outbox.next_delivery(webhook.webhook.id)
        assert delivery is not None
        assert SECRET_PREFIX + base64.b64encode(delivery.secret).decode() == webhook.secret
    await harness.engine.uploads.write(DEV, UPLOAD, received, send(CONTENT[received:]))
    (uploaded_file,) = harness.engine.uploads.resolve(DEV, [UPLOAD])
    assert uploaded_file.size == len(CONTENT)


async def test_running_task_is_started_again(harness: EngineHarness, database: TestDatabase) -> None:
    """As after any other restart of the engine."""
    task = await harness.approved_package()
    await harness.wait_for_worker(task)
    assert harness.task(task.id).status is TaskStatus.RUNNING
    await move(harness, database)
    await harness.reopen()
    worker = await harness.wait_for_worker(task)
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish(b"a container")
    assert (await harness.wait_until_final(task)).status is TaskStatus.DONE
