"""Tests of who is notified of what and when: recipients, reminders, escalation, combined and outdated messages."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealyard.engine.notifications.outbox import COALESCING_SECONDS
from sealyard.engine.notifications.text import MAX_LISTED
from sealyard.engine.state.tables import NOTIFICATION_OUTBOX
from sealyard.model.access import Action
from sealyard.model.notifications import NotificationEvent
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, SECOND, EngineHarness
from tests.support.notification_harness import (
    add_target,
    discard_obsolete,
    next_delivery,
    pending_events,
    set_settings,
)

pytestmark = pytest.mark.anyio

HOUR = 3600
PERIOD_HOURS = 100


async def move_to_percent(harness: EngineHarness, task: Task, percent: float) -> None:
    """Move the clock into the approval period of the task, which started when it was created."""
    assert task.approval_expires_at is not None
    period = task.approval_expires_at - task.created_at
    await harness.wait_until(lambda: harness.clock.has_sleeper(HOUR))
    harness.clock.move_to(task.created_at + period * percent / 100)


# ---- recipients


async def test_approvers_are_notified_of_waiting_request(harness: EngineHarness) -> None:
    owner, second = await add_target(harness, OWNER), await add_target(harness, SECOND)
    dev, admin = await add_target(harness, DEV), await add_target(harness, ADMIN)
    team = await add_target(harness, "", device_config=GATEWAY)
    await harness.package()
    assert [pending_events(harness, each) for each in (owner, second, team)] == [["task.waiting"]] * 3
    assert [pending_events(harness, each) for each in (dev, admin)] == [[], []]


async def test_requester_who_may_approve_is_not_notified(harness: EngineHarness) -> None:
    for action in (Action.USE, Action.APPROVE):
        await harness.add_rule(SECOND, "RESOURCE_TYPE:DEVICE_CONFIG", action)
    owner, second = await add_target(harness, OWNER), await add_target(harness, SECOND)
    await harness.package(by=SECOND)
    assert (pending_events(harness, owner), pending_events(harness, second)) == (["task.waiting"], [])


async def test_target_of_another_configuration_is_not_notified(harness: EngineHarness) -> None:
    await harness.create_device("sensor")
    team = await add_target(harness, "", device_config="sensor")
    owner = await add_target(harness, OWNER, device_config="sensor")
    await harness.package()
    assert (pending_events(harness, team), pending_events(harness, owner)) == ([], [])
    await harness.package(config="sensor")
    assert (pending_events(harness, team), pending_events(harness, owner)) == (["task.waiting"], ["task.waiting"])


async def test_requester_is_notified_of_decision_and_failure(harness: EngineHarness) -> None:
    target = await add_target(harness, DEV, NotificationEvent.DECISION, NotificationEvent.FAILURE)
    await harness.decide(await harness.package(), OWNER, Verdict.REJECTED, "no")
    await harness.approve(await harness.package())
    assert pending_events(harness, target) == ["task.rejected", "task.approved"]
    delivery = await next_delivery(harness, target)
    assert "was rejected" in delivery.body
    assert "was approved" in delivery.body


async def test_own_withdrawal_is_no_failure(harness: EngineHarness) -> None:
    target = await add_target(harness, DEV, NotificationEvent.FAILURE)
    await harness.cancel(await harness.package())
    await discard_obsolete(harness, target)


async def test_end_of_approval_period_is_a_failure(harness: EngineHarness) -> None:
    target = await add_target(harness, DEV, NotificationEvent.FAILURE)
    task = await harness.package()
    await move_to_percent(harness, task, 100)
    await harness.wait_for_status(task, TaskStatus.CANCELLED)
    assert "was cancelled before it was released" in (await next_delivery(harness, target)).title


# ---- reminders and escalation


async def test_reminder_and_escalation_are_sent_once(harness: EngineHarness) -> None:
    owner, admin = await add_target(harness, OWNER), await add_target(harness, ADMIN)
    task = await harness.package()
    await move_to_percent(harness, task, 49.9)
    await harness.wait_until_durable()
    assert (pending_events(harness, owner), pending_events(harness, admin)) == (["task.waiting"], [])
    await move_to_percent(harness, task, 50)
    await harness.wait_until(lambda: len(pending_events(harness, owner)) == 2)
    await move_to_percent(harness, task, 89.9)
    await harness.wait_until_durable()
    assert (pending_events(harness, owner), pending_events(harness, admin)) == (["task.waiting", "task.reminder"], [])
    await move_to_percent(harness, task, 90)
    await harness.wait_until(lambda: pending_events(harness, admin))
    await move_to_percent(harness, task, 99)
    await harness.wait_until_durable()
    assert pending_events(harness, owner) == ["task.waiting", "task.reminder"]
    assert pending_events(harness, admin) == ["task.escalated"]
    stored_task = harness.task(task.id)
    assert (stored_task.reminder_at, stored_task.escalation_at) == (None, None)


async def test_reminders_survive_restart(harness: EngineHarness) -> None:
    owner, admin = await add_target(harness, OWNER), await add_target(harness, ADMIN)
    task = await harness.package()
    await harness.close()
    assert task.approval_expires_at is not None
    harness.clock.advance(seconds=(task.approval_expires_at - task.created_at).total_seconds() * 0.95)
    await harness.open()
    # After such a jump, the clock is trusted an hour later.
    await harness.advance_clock(hours=1)
    await harness.wait_until(lambda: pending_events(harness, admin))
    await harness.reopen()
    await harness.wait_until_durable()
    assert pending_events(harness, owner) == ["task.waiting", "task.reminder"]
    assert pending_events(harness, admin) == ["task.escalated"]


async def test_decided_request_is_not_escalated(harness: EngineHarness) -> None:
    admin = await add_target(harness, ADMIN)
    task = await harness.package()
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    await harness.wait_until(lambda: harness.clock.has_sleeper(HOUR))
    harness.clock.advance(days=6.9)
    await harness.wait_until_durable()
    assert pending_events(harness, admin) == []


async def test_escalation_percent_is_configurable(harness: EngineHarness) -> None:
    await set_settings(harness, escalation_percent=60)
    task = await harness.package()
    assert task.approval_expires_at is not None
    assert task.escalation_at == task.updated_at + timedelta(days=7) * 0.6
    assert task.reminder_at == task.updated_at + timedelta(days=7) * 0.5


# ---- combined and outdated messages


async def test_requests_within_short_time_are_one_message(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    tasks = [await harness.package() for _ in range(3)]
    delivery = await next_delivery(harness, target)
    assert delivery.title == "3 requests waiting for approval"
    assert all(task.id in delivery.body for task in tasks)
    await harness.engine.notifications.outbox.mark_delivered(delivery.messages)
    (shown,) = harness.engine.notifications.list_targets(OWNER)
    assert (shown.delivered_count, shown.pending_count) == (3, 0)


async def test_first_message_waits_for_others(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    await harness.package()
    outbox = harness.engine.notifications.outbox
    message = outbox.pending(target.id)[0]
    assert outbox._due_at(message) == message.change.at + timedelta(seconds=COALESCING_SECONDS)


async def test_long_message_is_shortened(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    for _ in range(MAX_LISTED + 2):
        await harness.package()
    delivery = await next_delivery(harness, target)
    assert "And 2 more." in delivery.body


async def test_outdated_notification_is_not_sent(harness: EngineHarness) -> None:
    target, team = await add_target(harness, OWNER), await add_target(harness, "", device_config=GATEWAY)
    await harness.approve(await harness.package(), SECOND)
    await discard_obsolete(harness, target)
    await discard_obsolete(harness, team)


async def test_person_who_has_decided_is_not_asked_again(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    owner, second = await add_target(empty_harness, OWNER), await add_target(empty_harness, SECOND)
    task = await empty_harness.package()
    await empty_harness.approve(task, OWNER)
    await discard_obsolete(empty_harness, owner)
    assert task.id in (await next_delivery(empty_harness, second)).body


async def test_revoked_permission_stops_notifications(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    await harness.package()
    await harness.remove_rule(OWNER, Action.APPROVE)
    await discard_obsolete(harness, target)
    await harness.package()
    assert pending_events(harness, target) == []


async def test_workspace_without_targets_writes_nothing(harness: EngineHarness) -> None:
    await harness.done_package()
    assert harness.engine.store.count(NOTIFICATION_OUTBOX.name) == 0


async def test_notifications_survive_crash(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    task = await harness.package()
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert task.id in (await next_delivery(crash_copy, target)).body
    await crash_copy.close()


# ---- texts


async def test_message_contains_no_names_unless_allowed(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    task = await harness.package(name="secret-project 1.2 <!channel> @here\nBcc: x")
    delivery = await next_delivery(harness, target)
    assert delivery.title == "A package for gateway waits for your approval"
    text = delivery.title + delivery.body
    assert task.id in text
    assert f"sealyard show {task.id}" in text
    for word in ("secret-project", "firmware", DEV):
        assert word not in text
    await set_settings(harness, show_names=True)
    body = (await next_delivery(harness, target)).body
    assert "Name: secret-project 1.2 ‹!channel› ＠here\\x0aBcc: x\n" in body
    assert f"Requested by: {DEV}" in body
