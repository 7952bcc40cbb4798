"""Tests of the audit log of an engine: entries are moved from the journal and checkpointed exactly once."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from sealyard.audit.verify import verify_log
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter
from sealyard.model.errors import (
    InvalidInputError,
    PermissionDeniedError,
    SealyardError,
    StorageError,
    UsageError,
    WorkerError,
)
from sealyard.model.key_commands import SignCheckpoint
from sealyard.model.tasks import Task, TaskStatus
from tests.support.engine_harness import ADMIN, DEV, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio


async def test_close_checkpoints_every_entry(harness: EngineHarness) -> None:
    await harness.done_package()
    entry_count = len(await harness.audit_entries())
    await harness.close()
    report = verify_log(harness.audit_source)
    assert report.size == report.checkpointed_size == entry_count
    assert report.origin == "sealyard/w1"


async def test_log_verifies_while_engine_runs(harness: EngineHarness) -> None:
    await harness.package()
    entry_count = len(await harness.audit_entries())
    report = await harness.engine.audit.verify(ADMIN, None, None)
    assert report.size == entry_count
    assert report.checkpointed_size + report.uncheckpointed_count == entry_count


async def test_entries_are_checkpointed_after_commit(harness: EngineHarness) -> None:
    await harness.package()
    entry_count = len(await harness.audit_entries())
    await harness.wait_until(lambda: harness.engine.audit.sizes() == (entry_count, entry_count))


async def test_many_entries_share_one_checkpoint(harness: EngineHarness) -> None:
    requests = [each for each in harness.bus.commands if isinstance(each, SignCheckpoint)]
    draft = harness.engine.repository.begin()
    for _ in range(300):
        draft.audit(DEV, AuditAction.FAILED, "TEST", "one of many")
    await draft.commit()
    await harness.wait_until(lambda: harness.engine.audit.sizes()[1] >= 300)
    assert len([each for each in harness.bus.commands if isinstance(each, SignCheckpoint)]) == len(requests) + 1


async def test_denied_call_is_audited_before_it_raises(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.access.set_policy(DEV, harness.engine.access.policy()))
    entry = (await harness.audit_entries())[-1]
    assert (entry.author, entry.change, entry.code) == (DEV, AuditAction.REFUSED, "not-allowed")


async def test_entries_left_by_crash_are_moved_once(harness: EngineHarness) -> None:
    moved_count = harness.audit_source.size
    await harness.package()
    entries = await harness.audit_entries()
    crash_copy = await harness.copy_as_if_killed()
    assert crash_copy.audit_source.size >= moved_count
    await crash_copy.open()
    assert await crash_copy.audit_entries() == entries
    await crash_copy.reopen()
    assert await crash_copy.audit_entries() == entries
    await crash_copy.close()
    report = verify_log(crash_copy.audit_source)
    assert report.size == report.checkpointed_size == len(entries)


async def test_entries_are_numbered_without_gap(harness: EngineHarness) -> None:
    await harness.done_package()
    entries = await harness.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
    assert all(first.timestamp <= second.timestamp for first, second in pairwise(entries))


async def test_compaction_keeps_unmoved_entries(harness: EngineHarness) -> None:
    await harness.package()
    entries = await harness.audit_entries()
    await harness.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    size = harness.audit_source.size
    await harness.package()
    harness.engine.store.compact(size - 1)
    assert (await harness.audit_entries())[: len(entries)] == entries
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert [each.seq for each in await crash_copy.audit_entries()] == list(range(len(await crash_copy.audit_entries())))
    await crash_copy.close()


async def test_failed_checkpoint_is_completed_after_restart(harness: EngineHarness) -> None:
    request = harness.bus.request

    async def fail_checkpoints(message: object) -> object:
        if isinstance(message, SignCheckpoint):
            raise WorkerError("The worker died.")
        return await request(message)  # type: ignore[arg-type]

    harness.bus.request = fail_checkpoints  # type: ignore[assignment, method-assign]
    await harness.package()
    entry_count = len(await harness.audit_entries())
    await harness.close()
    assert verify_log(harness.audit_source).uncheckpointed_count > 0
    await harness.open()
    await harness.close()
    assert verify_log(harness.audit_source).checkpointed_size == entry_count


@pytest.mark.file_store
async def test_changed_audit_key_prevents_opening(harness: EngineHarness) -> None:
    await harness.close()
    key = next(harness.paths.audit.glob("*.pem"))
    key.write_bytes(key.read_bytes().replace(b"A", b"B"))
    with pytest.raises(SealyardError, match="audit"):
        await harness.open()
    await harness.close()


# ---- failed commits


async def test_failed_commit_restores_memory_state(harness: EngineHarness, disk: FailingDisk) -> None:
    tasks = dict(harness.engine.store.all("tasks"))
    file = await harness.upload()
    disk.fail(2)
    with pytest.raises(StorageError):
        await harness.package(firmware=(file,), client_token="one")
    assert dict(harness.engine.store.all("tasks")) == tasks
    assert harness.engine.store.count("tokens") == 0
    task = await harness.package(firmware=(file,), client_token="one")  # the input was not lost
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open(work=False)
    assert crash_copy.task(task.id) == task
    await crash_copy.close()


async def test_failed_commits_leave_no_gap(harness: EngineHarness, disk: FailingDisk) -> None:
    for times in (1, 2, 3):
        disk.fail(times)
        for _ in range(2):
            with pytest.raises(StorageError):
                await harness.package()
            if disk.failed_all:
                break
        await harness.package()
    entries = await harness.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
    await harness.close()
    report = verify_log(harness.audit_source)
    assert report.size == report.checkpointed_size >= len(entries)


async def test_invalid_unit_of_work_leaves_no_gap(harness: EngineHarness) -> None:
    draft = harness.engine.repository.begin()
    draft.audit(DEV, AuditAction.FAILED, "TEST", "good")
    draft.audit(DEV, AuditAction.FAILED, "TEST", "odd \udcff")
    with pytest.raises(InvalidInputError):
        await draft.commit()
    await harness.package()
    entries = await harness.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
    assert not [each for each in entries if each.resource == "TEST"]
    await harness.close()
    assert verify_log(harness.audit_source).checkpointed_size == len(entries)


async def test_close_checkpoints_pending_commit(harness: EngineHarness, disk: FailingDisk) -> None:
    entry_count = len(await harness.audit_entries())
    draft = harness.engine.repository.begin()
    draft.audit(DEV, AuditAction.FAILED, "TEST", "at the last moment")
    disk.block()
    commit = asyncio.create_task(draft.commit())
    await asyncio.sleep(0)
    close = asyncio.create_task(harness.close())
    await harness.wait_until(lambda: all(each.done() for each in harness.engine._loops))
    disk.unblock()
    await asyncio.gather(commit, close)
    assert verify_log(harness.audit_source).checkpointed_size == entry_count + 1


async def test_failed_commit_grants_no_permission(harness: EngineHarness, disk: FailingDisk) -> None:
    disk.fail(2)
    with pytest.raises(StorageError):
        await harness.add_rule("USER:second", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    with pytest.raises(PermissionDeniedError):
        await harness.package("USER:second")


async def test_failed_transition_is_retried_later(harness: EngineHarness, disk: FailingDisk) -> None:
    statuses = [TaskStatus.CREATED, TaskStatus.APPROVED]

    class DiskFiller:
        def on_task_saved(self, task: Task) -> None:
            """Make the commit after this one fail."""
            if statuses and task.status is statuses[0]:
                statuses.pop(0)
                disk.fail()

    harness.engine.repository.add_task_listeners(DiskFiller())
    task = await harness.package()
    assert task.status is TaskStatus.CREATED
    await harness.advance_clock(seconds=5)
    await harness.wait_for_status(task, TaskStatus.WAITING)
    assert (await harness.approve(task)).status is TaskStatus.APPROVED
    await harness.advance_clock(seconds=5)
    await harness.wait_for_worker(task)


# ---- reading


async def test_reading_log_requires_permission(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.engine.audit.page(DEV, AuditFilter(), None, 10)
    with pytest.raises(PermissionDeniedError):
        await harness.engine.audit.verify(DEV, None, None)
    with pytest.raises(PermissionDeniedError):
        await anext(harness.engine.audit.export(DEV, "jsonl", AuditFilter()))


async def test_denied_export_and_download_are_audited(harness: EngineHarness) -> None:
    task = await harness.done_package()
    export = harness.engine.stream(DEV, "AUDIT_LOG", harness.engine.audit.export(DEV, "jsonl", AuditFilter()))
    with pytest.raises(PermissionDeniedError):
        await anext(export)
    download = harness.engine.stream(
        "USER:stranger", "TASK", harness.engine.delivery.download("USER:stranger", task.id, 0)
    )
    with pytest.raises(PermissionDeniedError):
        await anext(download)
    entries = await harness.audit_entries(AuditAction.REFUSED)
    assert [(each.author, each.resource) for each in entries] == [(DEV, "AUDIT_LOG"), ("USER:stranger", "TASK")]


async def test_pages_contain_every_entry_once(harness: EngineHarness) -> None:
    await harness.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    await harness.package()
    entries = await harness.audit_entries()
    page_entries: list[AuditEntry] = []
    before = None
    while True:
        page = await harness.engine.audit.page(ADMIN, AuditFilter(), before, 3)
        page_entries += page.entries
        if (before := page.next) is None:
            break
    assert page_entries == entries[::-1]
    with pytest.raises(UsageError):
        await harness.engine.audit.page(ADMIN, AuditFilter(), None, 0)


async def test_export_contains_every_entry(harness: EngineHarness) -> None:
    await harness.package()
    entries = await harness.audit_entries()
    for kind, extra in (("jsonl", 0), ("csv", 1)):
        text = "".join([part async for part in harness.engine.audit.export(ADMIN, kind, AuditFilter())])
        assert len(text.splitlines()) == len(entries) + extra
    with pytest.raises(UsageError):
        await anext(harness.engine.audit.export(ADMIN, "pdf", AuditFilter()))
