"""The audit log of an engine: entries move from the journal, are sealed, and none is lost or doubled."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from sealyard.audit.reader import AuditReader
from sealyard.audit.verify import verify_log
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter
from sealyard.model.errors import InvalidInputError, PermissionDeniedError, StorageError, UsageError, WorkerError
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.worker_messages import SignCheckpoint
from tests.support.engine_harness import ADMIN, DEV, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio


async def test_after_closing_a_checkpoint_covers_every_entry(harness: EngineHarness) -> None:
    await harness.done_package()
    written = len(await harness.audit_entries())
    await harness.close()
    report = verify_log(harness.paths.audit)
    assert report.size == report.checkpointed_size == written
    assert report.origin == "sealyard/w1"


async def test_the_log_verifies_while_the_engine_runs(harness: EngineHarness) -> None:
    await harness.package()
    written = len(await harness.audit_entries())
    report = await harness.engine.audit.verify(ADMIN, None, None)
    assert report.size == written
    assert report.checkpointed_size + report.uncheckpointed_count == written


async def test_entries_are_sealed_soon_after_their_commit(harness: EngineHarness) -> None:
    await harness.package()
    written = len(await harness.audit_entries())
    await harness.wait_until(lambda: harness.engine.audit.sizes() == (written, written))


async def test_many_entries_are_sealed_at_once(harness: EngineHarness) -> None:
    sealed = [each for each in harness.bus.asked if isinstance(each, SignCheckpoint)]
    draft = harness.engine.repository.begin()
    for _ in range(300):
        draft.audit(DEV, AuditAction.FAILED, "TEST", "one of many")
    await draft.commit()
    await harness.wait_until(lambda: harness.engine.audit.sizes()[1] >= 300)
    assert len([each for each in harness.bus.asked if isinstance(each, SignCheckpoint)]) == len(sealed) + 1


async def test_a_refusal_is_in_the_log_before_it_is_answered(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.access.set_policy(DEV, harness.engine.access.policy()))
    entry = (await harness.audit_entries())[-1]
    assert (entry.author, entry.change, entry.code) == (DEV, AuditAction.REFUSED, "not-allowed")


async def test_what_a_killed_engine_did_not_move_is_moved_once(harness: EngineHarness) -> None:
    moved = AuditReader(harness.paths.audit).size
    await harness.package()
    written = await harness.audit_entries()
    killed = await harness.copy_as_if_killed()
    assert AuditReader(killed.paths.audit).size >= moved
    await killed.open()
    assert await killed.audit_entries() == written
    await killed.reopen()
    assert await killed.audit_entries() == written
    await killed.close()
    report = verify_log(killed.paths.audit)
    assert report.size == report.checkpointed_size == len(written)


async def test_entries_count_without_a_gap_and_hold_the_hash_of_the_one_before(harness: EngineHarness) -> None:
    await harness.done_package()
    entries = await harness.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
    assert all(one.timestamp <= other.timestamp for one, other in pairwise(entries))


async def test_a_journal_that_is_compacted_keeps_what_was_not_moved(harness: EngineHarness) -> None:
    await harness.package()
    written = await harness.audit_entries()
    await harness.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    size = AuditReader(harness.paths.audit).size
    await harness.package()
    harness.engine.store.compact(size - 1)
    assert (await harness.audit_entries())[: len(written)] == written
    killed = await harness.copy_as_if_killed()
    await killed.open()
    assert [each.seq for each in await killed.audit_entries()] == list(range(len(await killed.audit_entries())))
    await killed.close()


async def test_a_worker_that_cannot_seal_leaves_it_to_the_next_start(harness: EngineHarness) -> None:
    ask = harness.bus.request

    async def refusing(question: object) -> object:
        if isinstance(question, SignCheckpoint):
            raise WorkerError("The worker died.")
        return await ask(question)  # type: ignore[arg-type]

    harness.bus.request = refusing  # type: ignore[assignment, method-assign]
    await harness.package()
    written = len(await harness.audit_entries())
    await harness.close()
    assert verify_log(harness.paths.audit).uncheckpointed_count > 0
    await harness.open()
    await harness.close()
    assert verify_log(harness.paths.audit).checkpointed_size == written


async def test_another_audit_key_is_noticed_at_the_start(harness: EngineHarness) -> None:
    await harness.close()
    key = next(harness.paths.audit.glob("*.pem"))
    key.write_bytes(key.read_bytes().replace(b"A", b"B"))
    with pytest.raises(Exception, match="audit"):
        await harness.open()
    await harness.close()


# ---- commits that fail


async def test_after_a_failed_commit_memory_is_what_is_on_the_disk(harness: EngineHarness, disk: FailingDisk) -> None:
    before = dict(harness.engine.store.all("tasks"))
    file = await harness.upload()
    disk.fail(2)
    with pytest.raises(StorageError):
        await harness.package(firmware=(file,), client_token="one")
    assert dict(harness.engine.store.all("tasks")) == before
    assert harness.engine.store.count("tokens") == 0
    task = await harness.package(firmware=(file,), client_token="one")  # the input was not lost
    killed = await harness.copy_as_if_killed()
    await killed.open(work=False)
    assert killed.task(task.id) == task
    await killed.close()


async def test_after_failed_commits_the_log_has_no_gap(harness: EngineHarness, disk: FailingDisk) -> None:
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
    report = verify_log(harness.paths.audit)
    assert report.size == report.checkpointed_size >= len(entries)


async def test_a_draft_that_is_refused_in_its_midst_leaves_no_gap(harness: EngineHarness) -> None:
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
    assert verify_log(harness.paths.audit).checkpointed_size == len(entries)


async def test_what_is_on_its_way_to_the_disk_at_closing_is_sealed_too(
    harness: EngineHarness, disk: FailingDisk
) -> None:
    before = len(await harness.audit_entries())
    draft = harness.engine.repository.begin()
    draft.audit(DEV, AuditAction.FAILED, "TEST", "at the last moment")
    disk.block()
    committing = asyncio.create_task(draft.commit())
    await asyncio.sleep(0)
    closing = asyncio.create_task(harness.close())
    await harness.wait_until(lambda: all(each.done() for each in harness.engine._loops))
    disk.unblock()
    await asyncio.gather(committing, closing)
    assert verify_log(harness.paths.audit).checkpointed_size == before + 1


async def test_a_right_that_could_not_be_stored_is_not_given(harness: EngineHarness, disk: FailingDisk) -> None:
    disk.fail(2)
    with pytest.raises(StorageError):
        await harness.add_rule("USER:second", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    with pytest.raises(PermissionDeniedError):
        await harness.package("USER:second")


async def test_a_full_disk_between_two_frames_leaves_the_task_to_the_clock(
    harness: EngineHarness, disk: FailingDisk
) -> None:
    fills_at = [TaskStatus.CREATED, TaskStatus.APPROVED]

    class DiskFiller:
        def on_task_saved(self, task: Task) -> None:
            """Fail the disk after a durable commit, so that the next one meets a full disk."""
            if fills_at and task.status is fills_at[0]:
                fills_at.pop(0)
                disk.fail()

    harness.engine.repository.add_task_listeners(DiskFiller())
    task = await harness.package()
    assert task.status is TaskStatus.CREATED
    await harness.advance_clock(seconds=5)
    await harness.wait_for_status(task, TaskStatus.WAITING)
    assert (await harness.approve(task)).status is TaskStatus.APPROVED
    await harness.advance_clock(seconds=5)
    await harness.wait_for_worker(task)


# ---- looking


async def test_looking_at_the_log_wants_the_right(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.engine.audit.page(DEV, AuditFilter(), None, 10)
    with pytest.raises(PermissionDeniedError):
        await harness.engine.audit.verify(DEV, None, None)
    with pytest.raises(PermissionDeniedError):
        await anext(harness.engine.audit.export(DEV, "jsonl"))


async def test_a_refused_export_and_a_refused_download_are_audited(harness: EngineHarness) -> None:
    task = await harness.done_package()
    export = harness.engine.stream(DEV, "AUDIT_LOG", harness.engine.audit.export(DEV, "jsonl"))
    with pytest.raises(PermissionDeniedError):
        await anext(export)
    download = harness.engine.stream(
        "USER:stranger", "TASK", harness.engine.delivery.download("USER:stranger", task.id, 0)
    )
    with pytest.raises(PermissionDeniedError):
        await anext(download)
    refused = await harness.audit_entries(AuditAction.REFUSED)
    assert [(each.author, each.resource) for each in refused] == [(DEV, "AUDIT_LOG"), ("USER:stranger", "TASK")]


async def test_pages_go_on_below_each_other_without_loss(harness: EngineHarness) -> None:
    await harness.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    await harness.package()
    everything = await harness.audit_entries()
    seen: list[AuditEntry] = []
    below = None
    while True:
        page = await harness.engine.audit.page(ADMIN, AuditFilter(), below, 3)
        seen += page.entries
        if (below := page.next) is None:
            break
    assert seen == everything[::-1]
    with pytest.raises(UsageError):
        await harness.engine.audit.page(ADMIN, AuditFilter(), None, 0)


async def test_an_export_holds_every_entry(harness: EngineHarness) -> None:
    await harness.package()
    everything = await harness.audit_entries()
    for kind, extra in (("jsonl", 0), ("csv", 1)):
        text = "".join([part async for part in harness.engine.audit.export(ADMIN, kind)])
        assert len(text.splitlines()) == len(everything) + extra
    with pytest.raises(UsageError):
        await anext(harness.engine.audit.export(ADMIN, "pdf"))
