"""Tests of webhooks: queued messages, secrets, permissions, delivery and dead letters."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta

import pytest

from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import OUTBOX, WEBHOOKS, OutboxMessage
from sealyard.engine.webhooks.outbox import secret_context
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction
from sealyard.model.errors import NotFoundError, PermissionDeniedError, StorageError, UsageError
from sealyard.model.events import TaskChanged
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.webhooks import IssuedWebhook, WebhookEvent, WebhookRequest
from tests.support.clock import START
from tests.support.engine_harness import ADMIN, DEV, OWNER, SECOND, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

URL = "https://hooks.example.org/T0/path-that-is-a-secret"


async def add_webhook(harness: EngineHarness, *events: WebhookEvent, url: str = URL, by: str = ADMIN) -> IssuedWebhook:
    request = WebhookRequest(url=url, events=events)
    return await harness.execute(by, harness.engine.webhooks.add(by, request))


def pending_messages(harness: EngineHarness, issued: IssuedWebhook) -> list[OutboxMessage]:
    return harness.engine.webhook_outbox.pending(issued.webhook.id)


def task_change(message: OutboxMessage) -> TaskChanged:
    assert isinstance(message.change, TaskChanged)
    return message.change


def pending_events(harness: EngineHarness, issued: IssuedWebhook) -> list[WebhookEvent | None]:
    return [each.change.notification for each in pending_messages(harness, issued)]


async def next_message(harness: EngineHarness, issued: IssuedWebhook) -> OutboxMessage:
    delivery = await harness.engine.webhook_outbox.next_delivery(issued.webhook.id)
    assert delivery is not None
    return delivery.message


# ---- queued messages


async def test_task_events_are_queued_in_order(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    task = await harness.done_package()
    events = [WebhookEvent.TASK_WAITING, WebhookEvent.TASK_APPROVED, WebhookEvent.TASK_DONE]
    assert pending_events(harness, issued) == events
    assert {task_change(each).task_id for each in pending_messages(harness, issued)} == {task.id}
    cursors = [each.change.cursor for each in pending_messages(harness, issued)]
    assert cursors == sorted(cursors)
    await harness.advance_clock(hours=24 * 365)
    await harness.wait_until(lambda: pending_events(harness, issued) == [*events, WebhookEvent.RESULT_GONE])


async def test_approval_messages_contain_approver_and_status(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    issued = await add_webhook(empty_harness, WebhookEvent.TASK_APPROVED)
    task = await empty_harness.package()
    await empty_harness.approve(task, OWNER)
    await empty_harness.approve(task, SECOND)
    first_change, second_change = map(task_change, pending_messages(empty_harness, issued))
    assert first_change.decision is not None
    assert second_change.decision is not None
    assert (first_change.decision.by, first_change.status) == (OWNER, TaskStatus.WAITING)
    assert (second_change.decision.by, second_change.status) == (SECOND, TaskStatus.APPROVED)


async def test_only_subscribed_events_are_queued(harness: EngineHarness) -> None:
    rejection_webhook, cancellation_webhook = (
        await add_webhook(harness, WebhookEvent.TASK_REJECTED),
        await add_webhook(harness, WebhookEvent.TASK_CANCELLED),
    )
    await harness.decide(await harness.package(), OWNER, Verdict.REJECTED, "no")
    await harness.cancel(await harness.package())
    assert pending_events(harness, rejection_webhook) == [WebhookEvent.TASK_REJECTED]
    assert pending_events(harness, cancellation_webhook) == [WebhookEvent.TASK_CANCELLED]


async def test_workspace_without_webhooks_writes_nothing(harness: EngineHarness) -> None:
    await harness.done_package()
    assert harness.engine.store.count(OUTBOX.name) == 0


async def test_new_webhook_gets_no_earlier_events(harness: EngineHarness) -> None:
    await harness.package()
    issued = await add_webhook(harness)
    assert pending_messages(harness, issued) == []
    assert issued.webhook.delivered_count == 0


async def test_outbox_exceeds_event_history(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.storage.pending_log.MAX_EVENTS", 3)
    issued = await add_webhook(harness, WebhookEvent.TASK_WAITING)
    tasks = [await harness.package() for _ in range(6)]
    await harness.reopen()
    assert len(harness.engine.store.recent_events()) == 3
    assert [task_change(each).task_id for each in pending_messages(harness, issued)] == [each.id for each in tasks]


async def test_messages_survive_compaction_and_crash(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    task = await harness.package()
    harness.engine.store.compact(-1)
    await harness.approve(task)
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert pending_events(crash_copy, issued) == [WebhookEvent.TASK_WAITING, WebhookEvent.TASK_APPROVED]
    assert task_change(await next_message(crash_copy, issued)).task_id == task.id
    await crash_copy.close()


async def test_failed_commit_queues_no_message(harness: EngineHarness, disk: FailingDisk) -> None:
    issued = await add_webhook(harness, WebhookEvent.TASK_CANCELLED)
    task = await harness.package()
    disk.fail()
    with pytest.raises(StorageError):
        await harness.engine.decisions.cancel(DEV, task.id)
    assert pending_messages(harness, issued) == []


async def test_message_is_due_after_commit(harness: EngineHarness, disk: FailingDisk) -> None:
    issued = await add_webhook(harness, WebhookEvent.TASK_CANCELLED)
    task = await harness.package()
    next_delivery = harness.engine.webhook_outbox.next_delivery(issued.webhook.id)
    disk.block()
    delivery_task = asyncio.ensure_future(next_delivery)
    cancellation = asyncio.ensure_future(harness.cancel(task))
    await harness.wait_until(lambda: pending_messages(harness, issued))
    harness.engine.webhook_outbox.notify()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not delivery_task.done()
    disk.unblock()
    await cancellation
    delivery = await delivery_task
    assert delivery is not None
    assert task_change(delivery.message).task_id == task.id


# ---- secrets


async def test_secret_is_stored_encrypted(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    assert issued.secret.startswith("whsec_")
    secret = base64.b64decode(issued.secret.removeprefix("whsec_"), validate=True)
    assert len(secret) == 32
    webhook = harness.engine.repository.get(WEBHOOKS, issued.webhook.id)
    assert webhook is not None
    assert (
        SecretBox(harness.shelf.engine_keys.secrets_key).decrypt(webhook.secret, secret_context(issued.webhook.id))
        == secret
    )
    text = repr(issued) + repr(harness.engine.webhooks.list_webhooks(ADMIN))
    assert issued.secret not in text
    await harness.close()
    files = [each.read_bytes() for each in harness.paths.root.rglob("*") if each.is_file()]
    assert not any(issued.secret.removeprefix("whsec_").encode() in each or secret in each for each in files)


async def test_repr_of_delivery_hides_secret(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    await harness.package()
    delivery = await harness.engine.webhook_outbox.next_delivery(issued.webhook.id)
    assert delivery is not None
    assert base64.b64encode(delivery.secret).decode() == issued.secret.removeprefix("whsec_")
    assert repr(delivery.secret) not in repr(delivery)
    assert URL not in repr(delivery)


async def test_audit_entries_omit_secret_and_path(harness: EngineHarness) -> None:
    issued = await add_webhook(harness, WebhookEvent.TASK_DONE)
    await harness.execute(ADMIN, harness.engine.webhooks.remove(ADMIN, issued.webhook.id))
    entries = await harness.audit_entries(about=f"WEBHOOK:{issued.webhook.id}")
    assert [(each.author, each.change) for each in entries] == [
        (ADMIN, AuditAction.CREATED),
        (ADMIN, AuditAction.DELETED),
    ]
    assert entries[0].new_value == {"origin": "https://hooks.example.org", "events": ["task.done"]}
    text = json.dumps([str(each) for each in entries])
    assert "path-that-is-a-secret" not in text
    assert issued.secret not in text


# ---- permissions and rejections


async def test_webhooks_require_policy_update_permission(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    webhooks = harness.engine.webhooks
    for read in (lambda: webhooks.list_webhooks(DEV), lambda: webhooks.dead_letters(DEV, issued.webhook.id)):
        with pytest.raises(PermissionDeniedError):
            read()
    for call in (webhooks.remove(DEV, issued.webhook.id), webhooks.redeliver(DEV, "x")):
        with pytest.raises(PermissionDeniedError):
            await harness.execute(DEV, call)
    with pytest.raises(PermissionDeniedError):
        await add_webhook(harness, by=DEV)
    await harness.add_rule(DEV, "RESOURCE_TYPE:POLICY", Action.UPDATE)
    harness.clock.advance(seconds=1)
    await add_webhook(harness, by=DEV)
    assert [each.created_by for each in webhooks.list_webhooks(ADMIN)] == [ADMIN, DEV]


async def test_unknown_id_raises_not_found(harness: EngineHarness) -> None:
    webhooks = harness.engine.webhooks
    for call in (webhooks.remove(ADMIN, "nothing"), webhooks.redeliver(ADMIN, "nothing")):
        with pytest.raises(NotFoundError):
            await harness.execute(ADMIN, call)
    with pytest.raises(NotFoundError):
        webhooks.dead_letters(ADMIN, "nothing")


@pytest.mark.parametrize("url", ["http://", "https://user:word@example.org/", "file:///etc/passwd"])
async def test_invalid_url_is_rejected(harness: EngineHarness, url: str) -> None:
    with pytest.raises(UsageError):
        await add_webhook(harness, url=url)
    assert harness.engine.webhooks.list_webhooks(ADMIN) == ()


# ---- delivery


async def test_delivered_message_is_removed(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    await harness.package()
    message = await next_message(harness, issued)
    await harness.engine.webhook_outbox.mark_delivered((message,))
    assert pending_messages(harness, issued) == []
    (status,) = harness.engine.webhooks.list_webhooks(ADMIN)
    assert (status.delivered_count, status.last_error, status.pending_count) == (1, "", 0)


async def test_failed_delivery_is_retried_after_restart(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    await harness.package()
    message = await next_message(harness, issued)
    await harness.engine.webhook_outbox.mark_failed((message,), "It answered 500.", 30.0)
    (status,) = harness.engine.webhooks.list_webhooks(ADMIN)
    assert (status.last_error, status.pending_count) == ("It answered 500.", 1)
    await harness.reopen()
    (retry,) = pending_messages(harness, issued)
    assert (retry.id, retry.attempts, retry.retry_at) == (message.id, 1, START + timedelta(seconds=30))
    harness.clock.advance(seconds=31)
    assert await next_message(harness, issued) == retry


async def test_undeliverable_message_becomes_dead_letter(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    task = await harness.package()
    await harness.approve(task)
    outbox = harness.engine.webhook_outbox
    message = await next_message(harness, issued)
    await outbox.mark_failed((message,), "no", 0.0)
    await outbox.move_to_dead_letters((await next_message(harness, issued),), "It answered 410.")
    (letter,) = harness.engine.webhooks.dead_letters(ADMIN, issued.webhook.id)
    assert (letter.event, letter.task_id, letter.attempts) == (WebhookEvent.TASK_WAITING, task.id, 2)
    assert (letter.error, letter.cursor, letter.failed_at) == ("It answered 410.", message.change.cursor, START)
    (status,) = harness.engine.webhooks.list_webhooks(ADMIN)
    assert (status.pending_count, status.dead_letters, status.last_error) == (1, 1, "It answered 410.")
    assert (await next_message(harness, issued)).change.notification is WebhookEvent.TASK_APPROVED
    (entry,) = await harness.audit_entries(AuditAction.FAILED, f"WEBHOOK:{issued.webhook.id}")
    assert letter.task_id in entry.message


async def test_redelivery_queues_same_message(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    await harness.package()
    message = await next_message(harness, issued)
    await harness.engine.webhook_outbox.move_to_dead_letters((message,), "no")
    await harness.execute(ADMIN, harness.engine.webhooks.redeliver(ADMIN, message.id))
    assert harness.engine.webhooks.dead_letters(ADMIN, issued.webhook.id) == ()
    assert await next_message(harness, issued) == message
    (entry,) = await harness.audit_entries(AuditAction.RENEWED, f"WEBHOOK:{issued.webhook.id}")
    assert entry.author == ADMIN


async def test_redelivery_counts_as_delivery(harness: EngineHarness) -> None:
    issued = await add_webhook(harness)
    task = await harness.package()
    await harness.approve(task)
    outbox = harness.engine.webhook_outbox
    old_message = await next_message(harness, issued)
    await outbox.move_to_dead_letters((old_message,), "no")
    new_message = await next_message(harness, issued)
    await outbox.mark_delivered((new_message,))
    await harness.execute(ADMIN, harness.engine.webhooks.redeliver(ADMIN, old_message.id))
    await outbox.mark_delivered((await next_message(harness, issued),))
    assert harness.engine.webhooks.list_webhooks(ADMIN)[0].delivered_count == 2


async def test_removed_webhook_leaves_no_messages(harness: EngineHarness) -> None:
    issued, other_issued = await add_webhook(harness), await add_webhook(harness)
    task = await harness.package()
    await harness.approve(task)
    await harness.engine.webhook_outbox.move_to_dead_letters((await next_message(harness, issued),), "no")
    current_message = await next_message(harness, issued)
    await harness.execute(ADMIN, harness.engine.webhooks.remove(ADMIN, issued.webhook.id))
    for call in (
        harness.engine.webhook_outbox.mark_delivered((current_message,)),
        harness.engine.webhook_outbox.mark_failed((current_message,), "no", 1.0),
        harness.engine.webhook_outbox.move_to_dead_letters((current_message,), "no"),
    ):
        await call
    assert await harness.engine.webhook_outbox.next_delivery(issued.webhook.id) is None
    assert harness.engine.webhook_outbox.counts(issued.webhook.id) == (0, 0)
    assert [each.id for each in harness.engine.webhooks.list_webhooks(ADMIN)] == [other_issued.webhook.id]
    assert len(pending_messages(harness, other_issued)) == 2
