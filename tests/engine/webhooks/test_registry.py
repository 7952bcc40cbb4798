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


async def added(house: EngineHarness, *events: WebhookEvent, url: str = URL, by: str = ADMIN) -> IssuedWebhook:
    request = WebhookRequest(url=url, events=events)
    return await house.execute(by, house.engine.webhooks.add(by, request))


def kept(house: EngineHarness, hook: IssuedWebhook) -> list[OutboxMessage]:
    return house.engine.webhook_outbox.pending(hook.webhook.id)


def told(house: EngineHarness, hook: IssuedWebhook) -> list[WebhookEvent | None]:
    return [each.change.notification for each in kept(house, hook)]


async def first(house: EngineHarness, hook: IssuedWebhook) -> OutboxMessage:
    due = await house.engine.webhook_outbox.next_delivery(hook.webhook.id)
    assert due is not None
    return due.message


# ---- having one


async def test_a_webhook_is_told_of_all_that_happens_to_a_task_in_order(house: EngineHarness) -> None:
    hook = await added(house)
    task = await house.done_package()
    events = [WebhookEvent.TASK_WAITING, WebhookEvent.TASK_APPROVED, WebhookEvent.TASK_DONE]
    assert told(house, hook) == events
    assert {each.change.task_id for each in kept(house, hook)} == {task.id}
    cursors = [each.change.cursor for each in kept(house, hook)]
    assert cursors == sorted(cursors)
    await house.advance_clock(hours=24 * 365)
    await house.wait_until(lambda: told(house, hook) == [*events, WebhookEvent.RESULT_GONE])


async def test_an_approval_says_whose_it_was_and_whether_it_was_the_last(empty: EngineHarness) -> None:
    await empty.add_default_subjects(approvals=2)
    hook = await added(empty, WebhookEvent.TASK_APPROVED)
    task = await empty.package()
    await empty.approve(task, OWNER)
    await empty.approve(task, SECOND)
    one, two = (each.change for each in kept(empty, hook))
    assert one.decision is not None
    assert two.decision is not None
    assert (one.decision.by, one.status) == (OWNER, TaskStatus.WAITING)
    assert (two.decision.by, two.status) == (SECOND, TaskStatus.APPROVED)


async def test_only_the_events_that_were_asked_for_are_kept(house: EngineHarness) -> None:
    rejections, ends = await added(house, WebhookEvent.TASK_REJECTED), await added(house, WebhookEvent.TASK_CANCELLED)
    await house.decide(await house.package(), OWNER, Verdict.REJECTED, "no")
    await house.cancel(await house.package())
    assert told(house, rejections) == [WebhookEvent.TASK_REJECTED]
    assert told(house, ends) == [WebhookEvent.TASK_CANCELLED]


async def test_without_a_webhook_nothing_is_written(house: EngineHarness) -> None:
    await house.done_package()
    assert house.engine.store.count(OUTBOX.name) == 0
    assert not house.paths.secrets_key.exists()


async def test_a_webhook_is_told_of_nothing_from_before_it_was_there(house: EngineHarness) -> None:
    await house.package()
    hook = await added(house)
    assert kept(house, hook) == []
    assert hook.webhook.delivered == house.engine.events.cursor - 1


async def test_more_is_kept_than_the_events_of_those_who_catch_up(
    house: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard.storage.pending_log.MAX_EVENTS", 3)
    hook = await added(house, WebhookEvent.TASK_WAITING)
    tasks = [await house.package() for _ in range(6)]
    await house.reopen()
    assert len(house.engine.store.recent_events()) == 3
    assert [each.change.task_id for each in kept(house, hook)] == [each.id for each in tasks]


async def test_what_waits_outlives_a_compaction_and_a_kill(house: EngineHarness) -> None:
    hook = await added(house)
    task = await house.package()
    house.engine.store.compact(-1)
    await house.approve(task)
    other = await house.copy_as_if_killed()
    await other.open()
    assert told(other, hook) == [WebhookEvent.TASK_WAITING, WebhookEvent.TASK_APPROVED]
    assert (await first(other, hook)).change.task_id == task.id
    await other.close()


async def test_what_the_disk_refused_was_never_told(house: EngineHarness, disk: FailingDisk) -> None:
    hook = await added(house, WebhookEvent.TASK_CANCELLED)
    task = await house.package()
    disk.fail()
    with pytest.raises(StorageError):
        await house.engine.decisions.cancel(DEV, task.id)
    assert kept(house, hook) == []


async def test_what_is_not_on_the_disk_yet_is_not_due(house: EngineHarness, disk: FailingDisk) -> None:
    hook = await added(house, WebhookEvent.TASK_CANCELLED)
    task = await house.package()
    waiting = house.engine.webhook_outbox.next_delivery(hook.webhook.id)
    disk.block()
    due = asyncio.ensure_future(waiting)
    cancelling = asyncio.ensure_future(house.cancel(task))
    await house.wait_until(lambda: kept(house, hook))
    house.engine.webhook_outbox.notify()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not due.done()
    disk.unblock()
    await cancelling
    found = await due
    assert found is not None
    assert found.message.change.task_id == task.id


# ---- secrets


async def test_the_secret_is_shown_once_and_kept_sealed(house: EngineHarness) -> None:
    hook = await added(house)
    assert hook.secret.startswith("whsec_")
    raw = base64.b64decode(hook.secret.removeprefix("whsec_"), validate=True)
    assert len(raw) == 32
    stored = house.engine.repository.get(WEBHOOKS, hook.webhook.id)
    assert stored is not None
    assert SecretBox(house.paths.secrets_key).decrypt(stored.secret, secret_context(hook.webhook.id)) == raw
    due_secrets = repr(hook) + repr(house.engine.webhooks.list_webhooks(ADMIN))
    assert hook.secret not in due_secrets
    await house.close()
    files = [each.read_bytes() for each in house.paths.root.rglob("*") if each.is_file()]
    assert not any(hook.secret.removeprefix("whsec_").encode() in each or raw in each for each in files)


async def test_what_is_due_does_not_print_its_secret(house: EngineHarness) -> None:
    hook = await added(house)
    await house.package()
    due = await house.engine.webhook_outbox.next_delivery(hook.webhook.id)
    assert due is not None
    assert base64.b64encode(due.secret).decode() == hook.secret.removeprefix("whsec_")
    assert repr(due.secret) not in repr(due)
    assert URL not in repr(due)


async def test_the_log_knows_who_added_and_removed_it_and_neither_secret_nor_path(house: EngineHarness) -> None:
    hook = await added(house, WebhookEvent.TASK_DONE)
    await house.execute(ADMIN, house.engine.webhooks.remove(ADMIN, hook.webhook.id))
    entries = await house.audit_entries(about=f"WEBHOOK:{hook.webhook.id}")
    assert [(each.author, each.change) for each in entries] == [
        (ADMIN, AuditAction.CREATED),
        (ADMIN, AuditAction.DELETED),
    ]
    assert entries[0].new_value == {"origin": "https://hooks.example.org", "events": ["task.done"]}
    text = json.dumps([str(each) for each in entries])
    assert "path-that-is-a-secret" not in text
    assert hook.secret not in text


# ---- rights and refusals


async def test_only_who_may_update_the_policy_has_to_do_with_webhooks(house: EngineHarness) -> None:
    hook = await added(house)
    webhooks = house.engine.webhooks
    for look in (lambda: webhooks.list_webhooks(DEV), lambda: webhooks.dead_letters(DEV, hook.webhook.id)):
        with pytest.raises(PermissionDeniedError):
            look()
    for change in (webhooks.remove(DEV, hook.webhook.id), webhooks.redeliver(DEV, "x")):
        with pytest.raises(PermissionDeniedError):
            await house.execute(DEV, change)
    with pytest.raises(PermissionDeniedError):
        await added(house, by=DEV)
    await house.add_rule(DEV, "RESOURCE_TYPE:POLICY", Action.UPDATE)
    house.clock.advance(seconds=1)
    await added(house, by=DEV)
    assert [each.created_by for each in webhooks.list_webhooks(ADMIN)] == [ADMIN, DEV]


async def test_what_is_not_there_is_not_found(house: EngineHarness) -> None:
    webhooks = house.engine.webhooks
    for change in (webhooks.remove(ADMIN, "nothing"), webhooks.redeliver(ADMIN, "nothing")):
        with pytest.raises(NotFoundError):
            await house.execute(ADMIN, change)
    with pytest.raises(NotFoundError):
        webhooks.dead_letters(ADMIN, "nothing")


@pytest.mark.parametrize("url", ["http://", "https://user:word@example.org/", "file:///etc/passwd"])
async def test_what_is_no_url_for_a_webhook_makes_none(house: EngineHarness, url: str) -> None:
    with pytest.raises(UsageError):
        await added(house, url=url)
    assert house.engine.webhooks.list_webhooks(ADMIN) == ()


# ---- telling


async def test_what_was_delivered_is_gone_and_the_cursor_stands_there(house: EngineHarness) -> None:
    hook = await added(house)
    await house.package()
    notice = await first(house, hook)
    await house.engine.webhook_outbox.mark_delivered(notice)
    assert kept(house, hook) == []
    (seen,) = house.engine.webhooks.list_webhooks(ADMIN)
    assert (seen.delivered, seen.last_error, seen.pending_count) == (notice.change.cursor, "", 0)


async def test_a_failed_try_is_due_again_at_its_time_also_after_a_restart(house: EngineHarness) -> None:
    hook = await added(house)
    await house.package()
    notice = await first(house, hook)
    await house.engine.webhook_outbox.mark_failed(notice, "It answered 500.", 30.0)
    (seen,) = house.engine.webhooks.list_webhooks(ADMIN)
    assert (seen.last_error, seen.pending_count) == ("It answered 500.", 1)
    await house.reopen()
    (again,) = kept(house, hook)
    assert (again.id, again.attempts, again.retry_at) == (notice.id, 1, START + timedelta(seconds=30))
    house.clock.advance(seconds=31)
    assert await first(house, hook) == again


async def test_what_is_given_up_is_a_dead_letter_and_the_next_is_due(house: EngineHarness) -> None:
    hook = await added(house)
    task = await house.package()
    await house.approve(task)
    outbox = house.engine.webhook_outbox
    notice = await first(house, hook)
    await outbox.mark_failed(notice, "no", 0.0)
    await outbox.move_to_dead_letters(await first(house, hook), "It answered 410.")
    (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
    assert (letter.event, letter.task_id, letter.attempts) == (WebhookEvent.TASK_WAITING, task.id, 2)
    assert (letter.error, letter.cursor, letter.failed_at) == ("It answered 410.", notice.change.cursor, START)
    (seen,) = house.engine.webhooks.list_webhooks(ADMIN)
    assert (seen.pending_count, seen.dead_letters, seen.last_error) == (1, 1, "It answered 410.")
    assert (await first(house, hook)).change.notification is WebhookEvent.TASK_APPROVED
    (entry,) = await house.audit_entries(AuditAction.FAILED, f"WEBHOOK:{hook.webhook.id}")
    assert letter.task_id in entry.message


async def test_a_dead_letter_that_is_taken_up_is_the_same_message_again(house: EngineHarness) -> None:
    hook = await added(house)
    await house.package()
    notice = await first(house, hook)
    await house.engine.webhook_outbox.move_to_dead_letters(notice, "no")
    await house.execute(ADMIN, house.engine.webhooks.redeliver(ADMIN, notice.id))
    assert house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id) == ()
    assert await first(house, hook) == notice
    (entry,) = await house.audit_entries(AuditAction.RENEWED, f"WEBHOOK:{hook.webhook.id}")
    assert entry.author == ADMIN


async def test_an_old_letter_does_not_take_the_cursor_back(house: EngineHarness) -> None:
    hook = await added(house)
    task = await house.package()
    await house.approve(task)
    outbox = house.engine.webhook_outbox
    old = await first(house, hook)
    await outbox.move_to_dead_letters(old, "no")
    new = await first(house, hook)
    await outbox.mark_delivered(new)
    await house.execute(ADMIN, house.engine.webhooks.redeliver(ADMIN, old.id))
    await outbox.mark_delivered(await first(house, hook))
    assert house.engine.webhooks.list_webhooks(ADMIN)[0].delivered == new.change.cursor


async def test_a_removed_webhook_leaves_nothing_behind(house: EngineHarness) -> None:
    hook, other = await added(house), await added(house)
    task = await house.package()
    await house.approve(task)
    await house.engine.webhook_outbox.move_to_dead_letters(await first(house, hook), "no")
    under_way = await first(house, hook)
    await house.execute(ADMIN, house.engine.webhooks.remove(ADMIN, hook.webhook.id))
    for late in (
        house.engine.webhook_outbox.mark_delivered(under_way),
        house.engine.webhook_outbox.mark_failed(under_way, "no", 1.0),
        house.engine.webhook_outbox.move_to_dead_letters(under_way, "no"),
    ):
        await late
    assert await house.engine.webhook_outbox.next_delivery(hook.webhook.id) is None
    assert house.engine.webhook_outbox.counts(hook.webhook.id) == (0, 0)
    assert [each.id for each in house.engine.webhooks.list_webhooks(ADMIN)] == [other.webhook.id]
    assert len(kept(house, other)) == 2
