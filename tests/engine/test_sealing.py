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
from tests.support.engine_harness import ADMIN, DEV, House
from tests.support.failing_disk import Disk

pytestmark = pytest.mark.anyio


async def test_after_closing_a_checkpoint_covers_every_entry(house: House) -> None:
    await house.done_package()
    written = len(await house.audit())
    await house.close()
    report = verify_log(house.places.audit)
    assert report.size == report.checkpointed_size == written
    assert report.origin == "sealyard/w1"


async def test_the_log_verifies_while_the_engine_runs(house: House) -> None:
    await house.package()
    written = len(await house.audit())
    report = await house.engine.audit.verify(ADMIN, None, None)
    assert report.size == written
    assert report.checkpointed_size + report.uncheckpointed_count == written


async def test_entries_are_sealed_soon_after_their_commit(house: House) -> None:
    await house.package()
    written = len(await house.audit())
    await house.until(lambda: house.engine.audit.sizes() == (written, written))


async def test_many_entries_are_sealed_at_once(house: House) -> None:
    sealed = [each for each in house.bus.asked if isinstance(each, SignCheckpoint)]
    draft = house.engine.repository.begin()
    for _ in range(300):
        draft.audit(DEV, AuditAction.FAILED, "TEST", "one of many")
    await draft.commit()
    await house.until(lambda: house.engine.audit.sizes()[1] >= 300)
    assert len([each for each in house.bus.asked if isinstance(each, SignCheckpoint)]) == len(sealed) + 1


async def test_a_refusal_is_in_the_log_before_it_is_answered(house: House) -> None:
    with pytest.raises(PermissionDeniedError):
        await house.do(DEV, house.engine.access.set_policy(DEV, house.engine.access.policy()))
    entry = (await house.audit())[-1]
    assert (entry.author, entry.change, entry.code) == (DEV, AuditAction.REFUSED, "not-allowed")


async def test_what_a_killed_engine_did_not_move_is_moved_once(house: House) -> None:
    moved = AuditReader(house.places.audit).size
    await house.package()
    written = await house.audit()
    killed = await house.killed()
    assert AuditReader(killed.places.audit).size >= moved
    await killed.open()
    assert await killed.audit() == written
    await killed.reopen()
    assert await killed.audit() == written
    await killed.close()
    report = verify_log(killed.places.audit)
    assert report.size == report.checkpointed_size == len(written)


async def test_entries_count_without_a_gap_and_hold_the_hash_of_the_one_before(house: House) -> None:
    await house.done_package()
    entries = await house.audit()
    assert [each.seq for each in entries] == list(range(len(entries)))
    assert all(one.timestamp <= other.timestamp for one, other in pairwise(entries))


async def test_a_journal_that_is_compacted_keeps_what_was_not_moved(house: House) -> None:
    await house.package()
    written = await house.audit()
    await house.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    size = AuditReader(house.places.audit).size
    await house.package()
    house.engine.store.compact(size - 1)
    assert (await house.audit())[: len(written)] == written
    killed = await house.killed()
    await killed.open()
    assert [each.seq for each in await killed.audit()] == list(range(len(await killed.audit())))
    await killed.close()


async def test_a_worker_that_cannot_seal_leaves_it_to_the_next_start(house: House) -> None:
    ask = house.bus.request

    async def refusing(question: object) -> object:
        if isinstance(question, SignCheckpoint):
            raise WorkerError("The worker died.")
        return await ask(question)  # type: ignore[arg-type]

    house.bus.request = refusing  # type: ignore[assignment, method-assign]
    await house.package()
    written = len(await house.audit())
    await house.close()
    assert verify_log(house.places.audit).uncheckpointed_count > 0
    await house.open()
    await house.close()
    assert verify_log(house.places.audit).checkpointed_size == written


async def test_another_audit_key_is_noticed_at_the_start(house: House) -> None:
    await house.close()
    key = next(house.places.audit.glob("*.pem"))
    key.write_bytes(key.read_bytes().replace(b"A", b"B"))
    with pytest.raises(Exception, match="audit"):
        await house.open()
    await house.close()


# ---- commits that fail


async def test_after_a_failed_commit_memory_is_what_is_on_the_disk(house: House, disk: Disk) -> None:
    before = dict(house.engine.store.all("tasks"))
    file = await house.upload()
    disk.fail(2)
    with pytest.raises(StorageError):
        await house.package(firmware=(file,), client_token="one")
    assert dict(house.engine.store.all("tasks")) == before
    assert house.engine.store.count("tokens") == 0
    task = await house.package(firmware=(file,), client_token="one")  # the input was not lost
    killed = await house.killed()
    await killed.open(work=False)
    assert killed.task(task.id) == task
    await killed.close()


async def test_after_failed_commits_the_log_has_no_gap(house: House, disk: Disk) -> None:
    for times in (1, 2, 3):
        disk.fail(times)
        for _ in range(2):
            with pytest.raises(StorageError):
                await house.package()
            if disk.failed_all:
                break
        await house.package()
    entries = await house.audit()
    assert [each.seq for each in entries] == list(range(len(entries)))
    await house.close()
    report = verify_log(house.places.audit)
    assert report.size == report.checkpointed_size >= len(entries)


async def test_a_draft_that_is_refused_in_its_midst_leaves_no_gap(house: House) -> None:
    draft = house.engine.repository.begin()
    draft.audit(DEV, AuditAction.FAILED, "TEST", "good")
    draft.audit(DEV, AuditAction.FAILED, "TEST", "odd \udcff")
    with pytest.raises(InvalidInputError):
        await draft.commit()
    await house.package()
    entries = await house.audit()
    assert [each.seq for each in entries] == list(range(len(entries)))
    assert not [each for each in entries if each.resource == "TEST"]
    await house.close()
    assert verify_log(house.places.audit).checkpointed_size == len(entries)


async def test_what_is_on_its_way_to_the_disk_at_closing_is_sealed_too(house: House, disk: Disk) -> None:
    before = len(await house.audit())
    draft = house.engine.repository.begin()
    draft.audit(DEV, AuditAction.FAILED, "TEST", "at the last moment")
    disk.hold()
    committing = asyncio.create_task(draft.commit())
    await asyncio.sleep(0)
    closing = asyncio.create_task(house.close())
    await house.until(lambda: all(each.done() for each in house.engine._loops))
    disk.go()
    await asyncio.gather(committing, closing)
    assert verify_log(house.places.audit).checkpointed_size == before + 1


async def test_a_right_that_could_not_be_stored_is_not_given(house: House, disk: Disk) -> None:
    disk.fail(2)
    with pytest.raises(StorageError):
        await house.rule("USER:second", "RESOURCE_TYPE:DEVICE_CONFIG", Action.USE)
    with pytest.raises(PermissionDeniedError):
        await house.package("USER:second")


async def test_a_full_disk_between_two_frames_leaves_the_task_to_the_clock(house: House, disk: Disk) -> None:
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
    await house.later(seconds=5)
    await house.reaches(task, TaskStatus.WAITING)
    assert (await house.approve(task)).status is TaskStatus.APPROVED
    await house.later(seconds=5)
    await house.worker(task)


# ---- looking


async def test_looking_at_the_log_wants_the_right(house: House) -> None:
    with pytest.raises(PermissionDeniedError):
        await house.engine.audit.page(DEV, AuditFilter(), None, 10)
    with pytest.raises(PermissionDeniedError):
        await house.engine.audit.verify(DEV, None, None)
    with pytest.raises(PermissionDeniedError):
        await anext(house.engine.audit.export(DEV, "jsonl"))


async def test_a_refused_export_and_a_refused_download_are_audited(house: House) -> None:
    task = await house.done_package()
    export = house.engine.stream(DEV, "AUDIT_LOG", house.engine.audit.export(DEV, "jsonl"))
    with pytest.raises(PermissionDeniedError):
        await anext(export)
    download = house.engine.stream("USER:stranger", "TASK", house.engine.delivery.download("USER:stranger", task.id, 0))
    with pytest.raises(PermissionDeniedError):
        await anext(download)
    refused = await house.audit(AuditAction.REFUSED)
    assert [(each.author, each.resource) for each in refused] == [(DEV, "AUDIT_LOG"), ("USER:stranger", "TASK")]


async def test_pages_go_on_below_each_other_without_loss(house: House) -> None:
    await house.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    await house.package()
    everything = await house.audit()
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


async def test_an_export_holds_every_entry(house: House) -> None:
    await house.package()
    everything = await house.audit()
    for kind, extra in (("jsonl", 0), ("csv", 1)):
        text = "".join([part async for part in house.engine.audit.export(ADMIN, kind)])
        assert len(text.splitlines()) == len(everything) + extra
    with pytest.raises(UsageError):
        await anext(house.engine.audit.export(ADMIN, "pdf"))
