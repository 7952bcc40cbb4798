"""Webhooks: who may have them, what is kept for each, and that nothing is lost while one is there."""

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
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.webhooks import IssuedWebhook, WebhookEvent, WebhookRequest
from tests.support.clock import START
from tests.support.engine_harness import ADMIN, DEV, OWNER, SECOND, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

URL = "https://hooks.example.org/T0/path-that-is-a-secret"


async def added(harness: EngineHarness, *events: WebhookEvent, url: str = URL, by: str = ADMIN) -> IssuedWebhook:
    request = WebhookRequest(url=url, events=events)
    return await harness.execute(by, harness.engine.webhooks.add(by, request))


def kept(harness: EngineHarness, hook: IssuedWebhook) -> list[OutboxMessage]:
    return harness.engine.webhook_outbox.pending(hook.webhook.id)


def told(harness: EngineHarness, hook: IssuedWebhook) -> list[WebhookEvent | None]:
    return [each.change.notification for each in kept(harness, hook)]


async def first(harness: EngineHarness, hook: IssuedWebhook) -> OutboxMessage:
    due = await harness.engine.webhook_outbox.next_delivery(hook.webhook.id)
    assert due is not None
    return due.message


# ---- having one


async def test_a_webhook_is_told_of_all_that_happens_to_a_task_in_order(harness: EngineHarness) -> None:
    hook = await added(harness)
    task = await harness.done_package()
    events = [WebhookEvent.TASK_WAITING, WebhookEvent.TASK_APPROVED, WebhookEvent.TASK_DONE]
    assert told(harness, hook) == events
    assert {each.change.task_id for each in kept(harness, hook)} == {task.id}
    cursors = [each.change.cursor for each in kept(harness, hook)]
    assert cursors == sorted(cursors)
    await harness.advance_clock(hours=24 * 365)
    await harness.wait_until(lambda: told(harness, hook) == [*events, WebhookEvent.RESULT_GONE])


async def test_an_approval_says_whose_it_was_and_whether_it_was_the_last(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    hook = await added(empty_harness, WebhookEvent.TASK_APPROVED)
    task = await empty_harness.package()
    await empty_harness.approve(task, OWNER)
    await empty_harness.approve(task, SECOND)
    one, two = (each.change for each in kept(empty_harness, hook))
    assert one.decision is not None
    assert two.decision is not None
    assert (one.decision.by, one.status) == (OWNER, TaskStatus.WAITING)
    assert (two.decision.by, two.status) == (SECOND, TaskStatus.APPROVED)


async def test_only_the_events_that_were_asked_for_are_kept(harness: EngineHarness) -> None:
    rejections, ends = (
        await added(harness, WebhookEvent.TASK_REJECTED),
        await added(harness, WebhookEvent.TASK_CANCELLED),
    )
    await harness.decide(await harness.package(), OWNER, Verdict.REJECTED, "no")
    await harness.cancel(await harness.package())
    assert told(harness, rejections) == [WebhookEvent.TASK_REJECTED]
    assert told(harness, ends) == [WebhookEvent.TASK_CANCELLED]


async def test_without_a_webhook_nothing_is_written(harness: EngineHarness) -> None:
    await harness.done_package()
    assert harness.engine.store.count(OUTBOX.name) == 0
    assert not harness.paths.secrets_key.exists()


async def test_a_webhook_is_told_of_nothing_from_before_it_was_there(harness: EngineHarness) -> None:
    await harness.package()
    hook = await added(harness)
    assert kept(harness, hook) == []
    assert hook.webhook.delivered == harness.engine.events.cursor - 1


async def test_more_is_kept_than_the_events_of_those_who_catch_up(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard.storage.pending_log.MAX_EVENTS", 3)
    hook = await added(harness, WebhookEvent.TASK_WAITING)
    tasks = [await harness.package() for _ in range(6)]
    await harness.reopen()
    assert len(harness.engine.store.recent_events()) == 3
    assert [each.change.task_id for each in kept(harness, hook)] == [each.id for each in tasks]


async def test_what_waits_outlives_a_compaction_and_a_kill(harness: EngineHarness) -> None:
    hook = await added(harness)
    task = await harness.package()
    harness.engine.store.compact(-1)
    await harness.approve(task)
    other = await harness.copy_as_if_killed()
    await other.open()
    assert told(other, hook) == [WebhookEvent.TASK_WAITING, WebhookEvent.TASK_APPROVED]
    assert (await first(other, hook)).change.task_id == task.id
    await other.close()


async def test_what_the_disk_refused_was_never_told(harness: EngineHarness, disk: FailingDisk) -> None:
    hook = await added(harness, WebhookEvent.TASK_CANCELLED)
    task = await harness.package()
    disk.fail()
    with pytest.raises(StorageError):
        await harness.engine.decisions.cancel(DEV, task.id)
    assert kept(harness, hook) == []


async def test_what_is_not_on_the_disk_yet_is_not_due(harness: EngineHarness, disk: FailingDisk) -> None:
    hook = await added(harness, WebhookEvent.TASK_CANCELLED)
    task = await harness.package()
    waiting = harness.engine.webhook_outbox.next_delivery(hook.webhook.id)
    disk.block()
    due = asyncio.ensure_future(waiting)
    cancelling = asyncio.ensure_future(harness.cancel(task))
    await harness.wait_until(lambda: kept(harness, hook))
    harness.engine.webhook_outbox.notify()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not due.done()
    disk.unblock()
    await cancelling
    found = await due
    assert found is not None
    assert found.message.change.task_id == task.id


# ---- secrets


async def test_the_secret_is_shown_once_and_kept_sealed(harness: EngineHarness) -> None:
    hook = await added(harness)
    assert hook.secret.startswith("whsec_")
    raw = base64.b64decode(hook.secret.removeprefix("whsec_"), validate=True)
    assert len(raw) == 32
    stored = harness.engine.repository.get(WEBHOOKS, hook.webhook.id)
    assert stored is not None
    assert SecretBox(harness.paths.secrets_key).decrypt(stored.secret, secret_context(hook.webhook.id)) == raw
    due_secrets = repr(hook) + repr(harness.engine.webhooks.list_webhooks(ADMIN))
    assert hook.secret not in due_secrets
    await harness.close()
    files = [each.read_bytes() for each in harness.paths.root.rglob("*") if each.is_file()]
    assert not any(hook.secret.removeprefix("whsec_").encode() in each or raw in each for each in files)


async def test_what_is_due_does_not_print_its_secret(harness: EngineHarness) -> None:
    hook = await added(harness)
    await harness.package()
    due = await harness.engine.webhook_outbox.next_delivery(hook.webhook.id)
    assert due is not None
    assert base64.b64encode(due.secret).decode() == hook.secret.removeprefix("whsec_")
    assert repr(due.secret) not in repr(due)
    assert URL not in repr(due)


async def test_the_log_knows_who_added_and_removed_it_and_neither_secret_nor_path(harness: EngineHarness) -> None:
    hook = await added(harness, WebhookEvent.TASK_DONE)
    await harness.execute(ADMIN, harness.engine.webhooks.remove(ADMIN, hook.webhook.id))
    entries = await harness.audit_entries(about=f"WEBHOOK:{hook.webhook.id}")
    assert [(each.author, each.change) for each in entries] == [
        (ADMIN, AuditAction.CREATED),
        (ADMIN, AuditAction.DELETED),
    ]
    assert entries[0].new_value == {"origin": "https://hooks.example.org", "events": ["task.done"]}
    text = json.dumps([str(each) for each in entries])
    assert "path-that-is-a-secret" not in text
    assert hook.secret not in text


# ---- rights and refusals


async def test_only_who_may_update_the_policy_has_to_do_with_webhooks(harness: EngineHarness) -> None:
    hook = await added(harness)
    webhooks = harness.engine.webhooks
    for look in (lambda: webhooks.list_webhooks(DEV), lambda: webhooks.dead_letters(DEV, hook.webhook.id)):
        with pytest.raises(PermissionDeniedError):
            look()
    for change in (webhooks.remove(DEV, hook.webhook.id), webhooks.redeliver(DEV, "x")):
        with pytest.raises(PermissionDeniedError):
            await harness.execute(DEV, change)
    with pytest.raises(PermissionDeniedError):
        await added(harness, by=DEV)
    await harness.add_rule(DEV, "RESOURCE_TYPE:POLICY", Action.UPDATE)
    harness.clock.advance(seconds=1)
    await added(harness, by=DEV)
    assert [each.created_by for each in webhooks.list_webhooks(ADMIN)] == [ADMIN, DEV]


async def test_what_is_not_there_is_not_found(harness: EngineHarness) -> None:
    webhooks = harness.engine.webhooks
    for change in (webhooks.remove(ADMIN, "nothing"), webhooks.redeliver(ADMIN, "nothing")):
        with pytest.raises(NotFoundError):
            await harness.execute(ADMIN, change)
    with pytest.raises(NotFoundError):
        webhooks.dead_letters(ADMIN, "nothing")


@pytest.mark.parametrize("url", ["http://", "https://user:word@example.org/", "file:///etc/passwd"])
async def test_what_is_no_url_for_a_webhook_makes_none(harness: EngineHarness, url: str) -> None:
    with pytest.raises(UsageError):
        await added(harness, url=url)
    assert harness.engine.webhooks.list_webhooks(ADMIN) == ()


# ---- telling


async def test_what_was_delivered_is_gone_and_the_cursor_stands_there(harness: EngineHarness) -> None:
    hook = await added(harness)
    await harness.package()
    notice = await first(harness, hook)
    await harness.engine.webhook_outbox.mark_delivered(notice)
    assert kept(harness, hook) == []
    (seen,) = harness.engine.webhooks.list_webhooks(ADMIN)
    assert (seen.delivered, seen.last_error, seen.pending_count) == (notice.change.cursor, "", 0)


async def test_a_failed_try_is_due_again_at_its_time_also_after_a_restart(harness: EngineHarness) -> None:
    hook = await added(harness)
    await harness.package()
    notice = await first(harness, hook)
    await harness.engine.webhook_outbox.mark_failed(notice, "It answered 500.", 30.0)
    (seen,) = harness.engine.webhooks.list_webhooks(ADMIN)
    assert (seen.last_error, seen.pending_count) == ("It answered 500.", 1)
    await harness.reopen()
    (again,) = kept(harness, hook)
    assert (again.id, again.attempts, again.retry_at) == (notice.id, 1, START + timedelta(seconds=30))
    harness.clock.advance(seconds=31)
    assert await first(harness, hook) == again


async def test_what_is_given_up_is_a_dead_letter_and_the_next_is_due(harness: EngineHarness) -> None:
    hook = await added(harness)
    task = await harness.package()
    await harness.approve(task)
    outbox = harness.engine.webhook_outbox
    notice = await first(harness, hook)
    await outbox.mark_failed(notice, "no", 0.0)
    await outbox.move_to_dead_letters(await first(harness, hook), "It answered 410.")
    (letter,) = harness.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
    assert (letter.event, letter.task_id, letter.attempts) == (WebhookEvent.TASK_WAITING, task.id, 2)
    assert (letter.error, letter.cursor, letter.failed_at) == ("It answered 410.", notice.change.cursor, START)
    (seen,) = harness.engine.webhooks.list_webhooks(ADMIN)
    assert (seen.pending_count, seen.dead_letters, seen.last_error) == (1, 1, "It answered 410.")
    assert (await first(harness, hook)).change.notification is WebhookEvent.TASK_APPROVED
    (entry,) = await harness.audit_entries(AuditAction.FAILED, f"WEBHOOK:{hook.webhook.id}")
    assert letter.task_id in entry.message


async def test_a_dead_letter_that_is_taken_up_is_the_same_message_again(harness: EngineHarness) -> None:
    hook = await added(harness)
    await harness.package()
    notice = await first(harness, hook)
    await harness.engine.webhook_outbox.move_to_dead_letters(notice, "no")
    await harness.execute(ADMIN, harness.engine.webhooks.redeliver(ADMIN, notice.id))
    assert harness.engine.webhooks.dead_letters(ADMIN, hook.webhook.id) == ()
    assert await first(harness, hook) == notice
    (entry,) = await harness.audit_entries(AuditAction.RENEWED, f"WEBHOOK:{hook.webhook.id}")
    assert entry.author == ADMIN


async def test_an_old_letter_does_not_take_the_cursor_back(harness: EngineHarness) -> None:
    hook = await added(harness)
    task = await harness.package()
    await harness.approve(task)
    outbox = harness.engine.webhook_outbox
    old = await first(harness, hook)
    await outbox.move_to_dead_letters(old, "no")
    new = await first(harness, hook)
    await outbox.mark_delivered(new)
    await harness.execute(ADMIN, harness.engine.webhooks.redeliver(ADMIN, old.id))
    await outbox.mark_delivered(await first(harness, hook))
    assert harness.engine.webhooks.list_webhooks(ADMIN)[0].delivered == new.change.cursor


async def test_a_removed_webhook_leaves_nothing_behind(harness: EngineHarness) -> None:
    hook, other = await added(harness), await added(harness)
    task = await harness.package()
    await harness.approve(task)
    await harness.engine.webhook_outbox.move_to_dead_letters(await first(harness, hook), "no")
    under_way = await first(harness, hook)
    await harness.execute(ADMIN, harness.engine.webhooks.remove(ADMIN, hook.webhook.id))
    for late in (
        harness.engine.webhook_outbox.mark_delivered(under_way),
        harness.engine.webhook_outbox.mark_failed(under_way, "no", 1.0),
        harness.engine.webhook_outbox.move_to_dead_letters(under_way, "no"),
    ):
        await late
    assert await harness.engine.webhook_outbox.next_delivery(hook.webhook.id) is None
    assert harness.engine.webhook_outbox.counts(hook.webhook.id) == (0, 0)
    assert [each.id for each in harness.engine.webhooks.list_webhooks(ADMIN)] == [other.webhook.id]
    assert len(kept(harness, other)) == 2
