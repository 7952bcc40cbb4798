"""Tests of what an approver sees: changed metadata since the last released package, and warnings about the files."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.metadata_changes import FieldChange, MetadataChanges
from sealyard.model.requests import ApprovalReview, PackageRequest
from sealyard.model.tasks import InputFile, Task, Verdict
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness

pytestmark = pytest.mark.anyio

OLD, NEW = b'{"version": "0.9.2", "size": 1}', b'{"version": "0.9.4", "size": 1, "debug": true}'
CHANGES = (FieldChange(path="version", old='"0.9.2"', new='"0.9.4"'), FieldChange(path="debug", new="true"))


async def request_package(harness: EngineHarness, metadata: bytes, file_name: str = "info.json", **fields: Any) -> Task:
    firmware = await harness.upload(b"firmware " + metadata, "app.bin")
    return await harness.package(firmware=(firmware,), metadata=(await harness.upload(metadata, file_name),), **fields)


async def release(harness: EngineHarness, task: Task) -> Task:
    """Approve a package and run it until it is DONE."""
    worker = await harness.wait_for_worker(await harness.approve(task))
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish(b"a container")
    return await harness.wait_until_final(task.id)


async def review(harness: EngineHarness, task: Task) -> ApprovalReview:
    return await harness.engine.query(OWNER, f"TASK:{task.id}", harness.engine.reviews.review(OWNER, task.id))


def is_stored(harness: EngineHarness, file: InputFile) -> bool:
    try:
        harness.artifacts.input_path(file.sha256)
    except NotFoundError:
        return False
    return True


async def test_changed_fields_since_last_release_are_listed(harness: EngineHarness) -> None:
    await release(harness, await request_package(harness, OLD, "info-0.9.2.json"))
    task = await request_package(harness, NEW, "info-0.9.4.json")
    expected = MetadataChanges(name="info-0.9.4.json", old_name="info-0.9.2.json", format="JSON", fields=CHANGES)
    assert (await review(harness, task)).metadata_changes == (expected,)


async def test_first_package_has_no_changes(harness: EngineHarness) -> None:
    first_review = await review(harness, await request_package(harness, OLD))
    assert (first_review.previous, first_review.metadata_changes) == (None, ())


async def test_metadata_of_last_release_survives_restart(harness: EngineHarness) -> None:
    await release(harness, await request_package(harness, OLD))
    await harness.reopen()
    task = await request_package(harness, NEW)
    (changes,) = (await review(harness, task)).metadata_changes
    assert changes.fields == CHANGES


async def test_only_metadata_of_last_release_is_kept(harness: EngineHarness) -> None:
    first = await release(harness, await request_package(harness, OLD))
    assert [is_stored(harness, file) for file in (*first.metadata, *first.inputs)] == [True, False]
    await harness.advance_clock(hours=1)
    second = await release(harness, await request_package(harness, NEW))
    assert [is_stored(harness, file) for file in (*first.metadata, *second.metadata)] == [False, True]


async def test_metadata_of_rejected_package_is_removed(harness: EngineHarness) -> None:
    task = await request_package(harness, OLD)
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert not is_stored(harness, task.metadata[0])


async def test_each_configuration_has_its_own_last_release(harness: EngineHarness) -> None:
    await harness.create_device("other")
    await release(harness, await request_package(harness, OLD))
    task = await request_package(harness, NEW, config="other")
    assert (await review(harness, task)).previous is None
    await harness.advance_clock(hours=1)
    await release(harness, task)
    assert is_stored(harness, (await request_package(harness, OLD)).metadata[0])


async def test_pending_package_is_compared_with_package_released_after_its_request(harness: EngineHarness) -> None:
    task = await request_package(harness, OLD)
    await harness.advance_clock(hours=1)
    released_package = await release(harness, await request_package(harness, NEW))
    previous = (await review(harness, task)).previous
    assert previous is not None
    assert previous.id == released_package.id


async def test_lost_metadata_of_last_release_is_reported(harness: EngineHarness) -> None:
    released_package = await release(harness, await request_package(harness, OLD))
    harness.artifacts.delete_input(released_package.metadata[0].sha256)
    (changes,) = (await review(harness, await request_package(harness, NEW))).metadata_changes
    assert (changes.problem, changes.fields) == ("The old version is no longer stored.", ())


async def test_review_while_task_ends_returns_final_task(harness: EngineHarness) -> None:
    task = await request_package(harness, OLD)
    reviewing = asyncio.create_task(review(harness, task))
    await asyncio.sleep(0)
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    assert (await reviewing).task.id == task.id


async def test_invalid_metadata_is_a_warning_of_the_task(harness: EngineHarness) -> None:
    task = await request_package(harness, b"{bad", "bad.json")
    assert "bad.json is not valid JSON: line 1, column 2." in task.warnings
    assert (await review(harness, task)).warnings == ()


async def test_review_of_task_from_before_the_warnings_has_them(harness: EngineHarness) -> None:
    task = await request_package(harness, b"{bad", "bad.json")
    await harness.insert_tasks(msgspec.structs.replace(task, warnings=()))
    assert (await review(harness, task)).warnings == ("bad.json is not valid JSON: line 1, column 2.",)


async def test_same_content_twice_is_a_warning(harness: EngineHarness) -> None:
    firmware = tuple([await harness.upload(b"same", name) for name in ("a", "b", "c", "d\x07")])
    task = await harness.package(firmware=firmware, metadata=(await harness.upload(b"other", "n.txt"),))
    assert "Same content in 4 files: a, b, c, and 1 more." in task.warnings


async def test_repeated_package_is_a_warning(harness: EngineHarness) -> None:
    await release(harness, await request_package(harness, OLD, name="1.4"))
    assert not repetition_warnings(await request_package(harness, NEW))
    (warning,) = repetition_warnings(await request_package(harness, OLD, name="1.5"))
    assert warning.startswith("Same files and keys as the last released package: 1.4, ")
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, f"local:{GATEWAY}-signing"))
    assert not repetition_warnings(await request_package(harness, OLD))


def repetition_warnings(task: Task) -> list[str]:
    return [warning for warning in task.warnings if "last released package" in warning]


async def test_upload_that_is_discarded_during_the_checks_is_rejected(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    firmware, metadata = await harness.upload(), await harness.upload(OLD, "info.json")
    find_warnings = harness.engine.creation._contents.find_warnings

    def discard_and_check(files: tuple[InputFile, ...]) -> tuple[str, ...]:
        harness.engine.inputs.discard(files)
        return find_warnings(files)

    monkeypatch.setattr(harness.engine.creation._contents, "find_warnings", discard_and_check)
    request = PackageRequest(config=GATEWAY, firmware=(firmware,), metadata=(metadata,))
    with pytest.raises(SealyardError, match="no longer stored"):
        await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))
