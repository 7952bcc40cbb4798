"""Tests of the confirmation of the system clock, and of what later engines know about it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealyard.engine.open_engine import open_reader
from sealyard.engine.tasks import expiry
from sealyard.model.audit import AuditAction
from sealyard.model.clock import ClockConfirmation
from sealyard.model.errors import ConfirmationRequiredError, PermissionDeniedError, StorageError
from sealyard.model.events import WorkspaceChanged
from sealyard.model.tasks import Task, TaskStatus
from tests.support.engine_harness import ADMIN, CLIENT, DEV, OWNER, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

RETENTION = timedelta(hours=5)
WORKSPACE = "WORKSPACE:w1"


@pytest.fixture
async def harness(empty_harness: EngineHarness) -> EngineHarness:
    """Return a workspace whose results are removed after :data:`RETENTION`."""
    await empty_harness.add_default_subjects(link_ttl_seconds=3600, retention_seconds=int(RETENTION.total_seconds()))
    return empty_harness


async def confirm(harness: EngineHarness, subject: str = ADMIN, *, confirmed: bool = True) -> ClockConfirmation:
    return await harness.execute(subject, harness.engine.clock_confirmations.confirm(subject, confirmed=confirmed))


async def hold_removal(harness: EngineHarness) -> Task:
    """Set the clock ahead after a task is done, so that the removal of its result is held; return the task."""
    task = await harness.done_package()
    await harness.apply_deadlines()
    harness.clock.jump(days=60)
    await harness.apply_deadlines()
    await harness.advance_clock(hours=1, seconds=-10)
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(task.id)
    return task


async def wait_until_removed(harness: EngineHarness, task: Task) -> None:
    await harness.wait_until(lambda: not harness.artifacts.has_result(task.id))


# ---- confirmation


async def test_confirmation_applies_held_changes(harness: EngineHarness) -> None:
    waiting_task = await harness.package()
    done_task = await hold_removal(harness)
    assert harness.task(waiting_task.id).status is TaskStatus.WAITING
    now = harness.clock.now()
    assert await confirm(harness) == ClockConfirmation(time=now, already_trusted=False)
    assert not harness.artifacts.has_result(done_task.id)
    assert harness.task(waiting_task.id).status is TaskStatus.CANCELLED
    assert harness.clock.now() == now
    assert harness.engine.clock_guard.warning() is None
    assert (await harness.engine.health.health()).ready


async def test_confirmation_is_audited_before_removal(harness: EngineHarness) -> None:
    task = await hold_removal(harness)
    await confirm(harness)
    await wait_until_removed(harness, task)
    await harness.wait_until_durable()
    (entry,) = await harness.audit_entries(AuditAction.UPDATED, WORKSPACE)
    (removal,) = await harness.audit_entries(AuditAction.REMOVED)
    assert entry.author == ADMIN
    assert entry.message == "system clock confirmed, 60 days ahead of the expected time"
    assert entry.new_value == {
        "time": harness.clock.now().isoformat(),
        "leadSeconds": timedelta(days=60).total_seconds(),
    }
    (change,) = entry.changed_fields
    expected_time = harness.clock.now() - timedelta(days=60)
    assert (change.path, change.old, change.new) == ("time", expected_time.isoformat(), entry.new_value["time"])
    assert entry.seq < removal.seq


async def test_confirmation_must_be_explicit(harness: EngineHarness) -> None:
    task = await hold_removal(harness)
    with pytest.raises(ConfirmationRequiredError, match="60 days ahead") as caught:
        await confirm(harness, confirmed=False)
    assert f"{harness.clock.now().astimezone():%Y-%m-%d %H:%M:%S %Z}" in caught.value.message
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(task.id)
    assert not harness.engine.clock_guard.is_trusted()


@pytest.mark.parametrize("confirmed", [True, False])
async def test_confirming_a_trusted_clock_changes_nothing(harness: EngineHarness, confirmed: bool) -> None:
    entries = await harness.audit_entries()
    confirmation = await confirm(harness, confirmed=confirmed)
    assert confirmation == ClockConfirmation(time=harness.clock.now(), already_trusted=True)
    assert await harness.audit_entries() == entries


@pytest.mark.parametrize("subject", [DEV, OWNER, CLIENT])
async def test_only_administrators_can_confirm(harness: EngineHarness, subject: str) -> None:
    task = await hold_removal(harness)
    with pytest.raises(PermissionDeniedError):
        await confirm(harness, subject)
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(task.id)
    (refusal,) = await harness.audit_entries(AuditAction.REFUSED)
    assert refusal.author == subject


async def test_failed_commit_confirms_nothing(harness: EngineHarness, disk: FailingDisk) -> None:
    task = await hold_removal(harness)
    disk.fail()
    with pytest.raises(StorageError):
        await confirm(harness)
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(task.id)
    await confirm(harness)
    await wait_until_removed(harness, task)


async def test_confirmation_does_not_wait_for_failing_changes(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await hold_removal(harness)

    def fail(_: str) -> None:
        raise StorageError("The disk is gone.")

    monkeypatch.setattr(harness.artifacts, "remove_result", fail)
    monkeypatch.setattr(expiry, "APPLY_TIMEOUT", 0.05)
    assert not (await confirm(harness)).already_trusted
    assert harness.artifacts.has_result(task.id)
    monkeypatch.undo()
    await harness.advance_clock(seconds=5)
    await wait_until_removed(harness, task)


async def test_jump_after_confirmation_is_detected(harness: EngineHarness) -> None:
    await hold_removal(harness)
    await confirm(harness)
    harness.clock.jump(days=60)
    assert not harness.engine.clock_guard.is_trusted()


async def test_first_held_change_and_confirmation_are_published(harness: EngineHarness) -> None:
    await harness.package()
    await harness.package()
    cursor = harness.engine.events.cursor
    await hold_removal(harness)
    await confirm(harness)
    batches = harness.engine.events.batches(cursor)
    events = [event for event in await anext(batches) if isinstance(event, WorkspaceChanged)]
    assert [event.resource for event in events] == ["WORKSPACE", WORKSPACE]


async def test_corrected_clock_keeps_later_deadlines(harness: EngineHarness) -> None:
    task = await hold_removal(harness)
    harness.clock.jump(days=-60)
    for _ in range(3):
        await harness.advance_clock(hours=1)
        await harness.apply_deadlines()
        assert harness.artifacts.has_result(task.id)
    await harness.advance_clock(hours=1, minutes=1)
    await wait_until_removed(harness, task)


# ---- later engines


async def test_downtime_in_the_same_boot_does_not_delay_removal(harness: EngineHarness) -> None:
    task = await harness.done_package()
    await harness.close()
    harness.clock.advance(hours=10)
    await harness.open()
    await wait_until_removed(harness, task)


async def test_downtime_with_a_reboot_delays_removal(harness: EngineHarness) -> None:
    task = await harness.done_package()
    await harness.close()
    harness.clock.advance(hours=10)
    harness.clock.reboot()
    await harness.open()
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(task.id)
    assert (await harness.engine.health.health()).ready
    await confirm(harness)
    await wait_until_removed(harness, task)


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
async def test_missing_or_damaged_record_delays_removal(harness: EngineHarness, content: bytes | None) -> None:
    task = await harness.done_package()
    await harness.close()
    harness.paths.clock.unlink()
    if content is not None:
        harness.paths.clock.write_bytes(content)
    harness.clock.advance(hours=10)
    await harness.open()
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(task.id)


async def test_jump_between_two_engines_delays_removal(harness: EngineHarness) -> None:
    task = await harness.done_package()
    await harness.close()
    harness.clock.jump(days=60)
    for _ in range(2):
        await harness.open()
        await harness.package()
        await harness.apply_deadlines()
        health = await harness.engine.health.health()
        assert [check.name for check in health.failures] == ["clock"]
        assert harness.artifacts.has_result(task.id)
        await harness.close()


async def test_confirmation_is_valid_for_later_engines(harness: EngineHarness) -> None:
    task = await hold_removal(harness)
    await confirm(harness)
    crash_copy = await harness.copy_as_if_killed()
    crash_copy.clock.advance(hours=10)
    await crash_copy.open()
    await wait_until_removed(crash_copy, task)
    await crash_copy.close()


async def test_killed_engine_has_recorded_the_clock(harness: EngineHarness) -> None:
    task = await harness.done_package()
    crash_copy = await harness.copy_as_if_killed()
    crash_copy.clock.advance(hours=10)
    await crash_copy.open()
    await wait_until_removed(crash_copy, task)
    await crash_copy.close()


@pytest.mark.file_store
async def test_reader_does_not_record_the_clock(harness: EngineHarness) -> None:
    await harness.close()
    harness.paths.clock.unlink()
    reader = await open_reader(harness.paths, clock=harness.clock)
    assert reader.clock_guard.is_trusted()
    await reader.close()
    assert not harness.paths.clock.exists()
    await harness.open()
