"""Tests of inputs and results that were changed on disk: approvals are blocked and the change is audited."""

from __future__ import annotations

import msgspec
import pytest

from sealyard.engine.tasks.contents import PREVIEW_BYTES
from sealyard.model.audit import AuditAction
from sealyard.model.errors import IntegrityError
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.support.engine_harness import DEV, OWNER, EngineHarness

pytestmark = pytest.mark.anyio

METADATA = b'{"version": "1.0.0"}'


async def create_package(harness: EngineHarness, metadata: bytes = METADATA) -> Task:
    return await harness.package(
        firmware=(await harness.upload(),), metadata=(await harness.upload(metadata, "version.json"),)
    )


@pytest.mark.parametrize("content", [METADATA.swapcase(), METADATA[:-1], METADATA + b" "])
async def test_changed_metadata_blocks_approval(harness: EngineHarness, content: bytes) -> None:
    task = await create_package(harness)
    assert (await harness.engine.reviews.review(OWNER, task.id)).metadata == (("version.json", METADATA),)
    harness.artifacts.input_path(task.metadata[0].sha256).write_bytes(content)
    review = await harness.engine.reviews.review(OWNER, task.id)
    assert review.metadata == (("version.json", b""),)
    assert "changed on disk since the upload: version.json" in review.blocked_reason
    with pytest.raises(IntegrityError, match=r"version.json"):
        await harness.approve(task)
    assert harness.task(task.id) == task
    (entry,) = await harness.audit_entries(AuditAction.FAILED)
    assert entry.code == IntegrityError.code


async def test_change_behind_preview_blocks_approval(harness: EngineHarness) -> None:
    """The preview of the file is unchanged, but the whole file is not."""
    metadata = b"x" * (PREVIEW_BYTES - 1) + b"y"
    task = await create_package(harness, metadata[:-1])
    path = harness.artifacts.input_path(task.metadata[0].sha256)
    path.write_bytes(metadata)
    assert "version.json" in (await harness.engine.reviews.review(OWNER, task.id)).blocked_reason


async def test_task_with_changed_input_can_be_rejected(harness: EngineHarness) -> None:
    task = await create_package(harness)
    harness.artifacts.input_path(task.metadata[0].sha256).write_bytes(b"swapped")
    final_task = await harness.decide(task, OWNER, Verdict.REJECTED, "the metadata was swapped")
    assert final_task.status is TaskStatus.CANCELLED


async def test_approval_of_changed_inline_message_raises(harness: EngineHarness) -> None:
    task = await harness.signing()
    changed_input = msgspec.structs.replace(task.inputs[0], inline="c3dhcHBlZA==")
    await harness.insert_tasks(msgspec.structs.replace(task, inputs=(changed_input,)))
    assert "message" in (await harness.engine.reviews.review(OWNER, task.id)).blocked_reason
    with pytest.raises(IntegrityError):
        await harness.approve(task)


async def test_integrity_failure_of_job_is_audited(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.fail(IntegrityError("firmware.bin was changed on disk. Nothing was signed.", "Upload it again."))
    final_task = await harness.wait_until_final(worker.id)
    assert (final_task.status, final_task.reason_code) == (TaskStatus.FAILED, IntegrityError.code)
    (entry,) = await harness.audit_entries(AuditAction.CORRUPTED)
    assert (entry.resource, entry.code) == (f"TASK:{worker.id}", IntegrityError.code)
    assert entry.message == "firmware.bin was changed on disk. Nothing was signed. Upload it again."


async def test_download_of_result_behind_link_raises(harness: EngineHarness) -> None:
    done_task = await harness.done_package()
    path = harness.artifacts.result_path(done_task.id)
    outside = harness.paths.root.with_name("outside")
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(IntegrityError, match="symbolic link"):
        async for _ in harness.engine.stream(
            DEV, f"TASK:{done_task.id}", harness.engine.delivery.download(DEV, done_task.id, 0)
        ):
            pass


async def test_restart_keeps_target_of_linked_work_folder(harness: EngineHarness) -> None:
    outside = harness.paths.root.with_name("outside")
    outside.mkdir()
    (outside / "kept").touch()
    (harness.paths.artifacts / "work" / "t1").symlink_to(outside)
    await harness.reopen()
    assert harness.artifacts.tasks_with_work_dir() == ()
    assert (outside / "kept").exists()
