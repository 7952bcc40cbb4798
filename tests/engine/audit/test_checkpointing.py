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


async def test_after_closing_a_checkpoint_covers_every_entry(house: EngineHarness) -> None:
    await house.done_package()
    written = len(await house.audit_entries())
    await house.close()
    report = verify_log(house.paths.audit)
    assert report.size == report.checkpointed_size == written
    assert report.origin == "sealyard/w1"


async def test_the_log_verifies_while_the_engine_runs(house: EngineHarness) -> None:
    await house.package()
    written = len(await house.audit_entries())
    report = await house.engine.audit.verify(ADMIN, None, None)
    assert report.size == written
    assert report.checkpointed_size + report.uncheckpointed_count == written


async def test_entries_are_sealed_soon_after_their_commit(house: EngineHarness) -> None:
    await house.package()
    written = len(await house.audit_entries())
    await house.wait_until(lambda: house.engine.audit.sizes() == (written, written))


async def test_many_entries_are_sealed_at_once(house: EngineHarness) -> None:
    sealed = [each for each in house.bus.asked if isinstance(each, SignCheckpoint)]
    draft = house.engine.repository.begin()
    for _ in range(300):
        draft.audit(DEV, AuditAction.FAILED, "TEST", "one of many")
    await draft.commit()
    await house.wait_until(lambda: house.engine.audit.sizes()[1] >= 300)
    assert len([each for each in house.bus.asked if isinstance(each, SignCheckpoint)]) == len(sealed) + 1


async def test_a_refusal_is_in_the_log_before_it_is_answered(house: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await house.execute(DEV, house.engine.access.set_policy(DEV, house.engine.access.policy()))
    entry = (await house.audit_entries())[-1]
    assert (entry.author, entry.change, entry.code) == (DEV, AuditAction.REFUSED, "not-allowed")


async def test_what_a_killed_engine_did_not_move_is_moved_once(house: EngineHarness) -> None:
    moved = AuditReader(house.paths.audit).size
    await house.package()
    written = await house.audit_entries()
    killed = await house.copy_as_if_killed()
    assert AuditReader(killed.paths.audit).size >= moved
    await killed.open()
    assert await killed.audit_entries() == written
    await killed.reopen()
    assert await killed.audit_entries() == written
    await killed.close()
    report = verify_log(killed.paths.audit)
    assert report.size == report.checkpointed_size == len(written)


async def test_entries_count_without_a_gap_and_hold_the_hash_of_the_one_before(house: EngineHarness) -> None:
    await house.done_package()
    entries = await house.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
    assert all(one.timestamp <= other.timestamp for one, other in pairwise(entries))


async def test_a_journal_that_is_compacted_keeps_what_was_not_moved(house: EngineHarness) -> None:
    await house.package()
    written = await house.audit_entries()
    await house.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    size = AuditReader(house.paths.audit).size
    await house.package()
    house.engine.store.compact(size - 1)
    assert (await house.audit_entries())[: len(written)] == written
    killed = await house.copy_as_if_killed()
    await killed.open()
    assert [each.seq for each in await killed.audit_entries()] == list(range(len(await killed.audit_entries())))
    await killed.close()


async def test_a_worker_that_cannot_seal_leaves_it_to_the_next_start(house: EngineHarness) -> None:
    ask = house.bus.request

    async def refusing(question: object) -> object:
        if isinstance(question, SignCheckpoint):
            raise WorkerError("The worker died.")
        return await ask(question)  # type: ignore[arg-type]

    house.bus.request = refusing  # type: ignore[assignment, method-assign]
    await house.package()
    written = len(await house.audit_entries())
    await house.close()
    assert verify_log(house.paths.audit).uncheckpointed_count > 0
    await house.open()
    await house.close()
    assert verify_log(house.paths.audit).checkpointed_size == written


async def test_another_audit_key_is_noticed_at_the_start(house: EngineHarness) -> None:
    await house.close()
    key = next(house.paths.audit.glob("*.pem"))
    key.write_bytes(key.read_bytes().replace(b"A", b"B"))
    with pytest.raises(Exception, match="audit"):
        await house.open()
    await house.close()


# ---- commits that fail


async def test_after_a_failed_commit_memory_is_what_is_on_the_disk(house: EngineHarness, disk: FailingDisk) -> None:
    before = dict(house.engine.store.all("tasks"))
    file = await house.upload()
    disk.fail(2)
    with pytest.raises(StorageError):
        await house.package(firmware=(file,), client_token="one")
    assert dict(house.engine.store.all("tasks")) == before
    assert house.engine.store.count("tokens") == 0
    task = await house.package(firmware=(file,), client_token="one")  # the input was not lost
    killed = await house.copy_as_if_killed()
    await killed.open(work=False)
    assert killed.task(task.id) == task
    await killed.close()


async def test_after_failed_commits_the_log_has_no_gap(house: EngineHarness, disk: FailingDisk) -> None:
    for times in (1, 2, 3):
        disk.fail(times)
        for _ in range(2):
            with pytest.raises(StorageError):
                await house.package()
            if disk.failed_all:
                break
        await house.package()
    entries = await house.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
    await house.close()
    report = verify_log(house.paths.audit)
    assert report.size == report.checkpointed_size >= len(entries)


async def test_a_draft_that_is_refused_in_its_midst_leaves_no_gap(house: EngineHarness) -> None:
    draft = house.engine.repository.begin()
    draft.audit(DEV, AuditAction.FAILED, "TEST", "good")
    draft.audit(DEV, AuditAction.FAILED, "TEST", "odd \udcff")
    with pytest.raises(InvalidInputError):
        await draft.commit()
    await house.package()
    entries = await house.audit_entries()
    assert [each.seq for each in entries] == list(range(len(entries)))
    assert not [each for each in entries if each.resource == "TEST"]
    await house.close()
    assert verify_log(house.paths.audit).checkpointed_size == len(entries)


async def test_what_is_on_its_way_to_the_disk_at_closing_is_sealed_too(house: EngineHarness, disk: FailingDisk) -> None:
    before = len(await house.audit_entries())
    draft = house.engine.repository.begin()
    draft.audit(DEV, AuditAction.FAILED, "TEST", "at the last moment")
    disk.block()
    committing = asyncio.create_task(draft.commit())
    await asyncio.sleep(0)
    closing = asyncio.create_task(house.close())
    await house.wait_until(lambda: all(each.done() for each in house.engine._loops))
    disk.unblock()
    await asyncio.gather(committing, closing)
    assert verify_log(house.paths.audit).checkpointed_size == before + 1


async def test_a_right_that_could_not_be_stored_is_not_given(house: EngineHarness, disk: FailingDisk) -> None:
    disk.fail(2)
    with pytest.raises(StorageError):
        await house.add_rule("USER:second", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    with pytest.raises(PermissionDeniedError):
        await house.package("USER:second")


async def test_a_full_disk_between_two_frames_leaves_the_task_to_the_clock(
    house: EngineHarness, disk: FailingDisk
) -> None:
    fills_at = [TaskStatus.CREATED, TaskStatus.APPROVED]

    class DiskFiller:
        def on_task_saved(self, task: Task) -> None:
            """Fail the disk after a durable commit, so that the next one meets a full disk."""
            if fills_at and task.status is fills_at[0]:
                fills_at.pop(0)
                disk.fail()

    house.engine.repository.add_task_listeners(DiskFiller())
    task = await house.package()
    assert task.status is TaskStatus.CREATED
    await house.advance_clock(seconds=5)
    await house.wait_for_status(task, TaskStatus.WAITING)
    assert (await house.approve(task)).status is TaskStatus.APPROVED
    await house.advance_clock(seconds=5)
    await house.wait_for_worker(task)


# ---- looking


async def test_looking_at_the_log_wants_the_right(house: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await house.engine.audit.page(DEV, AuditFilter(), None, 10)
    with pytest.raises(PermissionDeniedError):
        await house.engine.audit.verify(DEV, None, None)
    with pytest.raises(PermissionDeniedError):
        await anext(house.engine.audit.export(DEV, "jsonl"))


async def test_a_refused_export_and_a_refused_download_are_audited(house: EngineHarness) -> None:
    task = await house.done_package()
    export = house.engine.stream(DEV, "AUDIT_LOG", house.engine.audit.export(DEV, "jsonl"))
    with pytest.raises(PermissionDeniedError):
        await anext(export)
    download = house.engine.stream("USER:stranger", "TASK", house.engine.delivery.download("USER:stranger", task.id, 0))
    with pytest.raises(PermissionDeniedError):
        await anext(download)
    refused = await house.audit_entries(AuditAction.REFUSED)
    assert [(each.author, each.resource) for each in refused] == [(DEV, "AUDIT_LOG"), ("USER:stranger", "TASK")]


async def test_pages_go_on_below_each_other_without_loss(house: EngineHarness) -> None:
    await house.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    await house.package()
    everything = await house.audit_entries()
    seen: list[AuditEntry] = []
    below = None
    while True:
        page = await house.engine.audit.page(ADMIN, AuditFilter(), below, 3)
        seen += page.entries
        if (below := page.next) is None:
            break
    assert seen == everything[::-1]
    with pytest.raises(UsageError):
        await house.engine.audit.page(ADMIN, AuditFilter(), None, 0)


async def test_an_export_holds_every_entry(house: EngineHarness) -> None:
    await house.package()
    everything = await house.audit_entries()
    for kind, extra in (("jsonl", 0), ("csv", 1)):
        text = "".join([part async for part in house.engine.audit.export(ADMIN, kind)])
        assert len(text.splitlines()) == len(everything) + extra
    with pytest.raises(UsageError):
        await anext(house.engine.audit.export(ADMIN, "pdf"))
