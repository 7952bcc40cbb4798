"""Test moves of inputs and results between the folder of a workspace and buckets."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sealyard.audit.verify import verify_log
from sealyard.engine.move_artifacts import require_complete
from sealyard.model.errors import (
    ArtifactStoreError,
    ConflictError,
    IntegrityError,
    ResultGoneError,
    StorageError,
    WorkspaceLockedError,
)
from sealyard.model.hints import HintCode
from sealyard.model.moves import FOLDER, ArtifactDefect, ArtifactKind, MoveStep, Places
from sealyard.model.tasks import TaskStatus
from sealyard.storage.s3.bucket import Bucket
from tests.support.artifact_moves import (
    FIRMWARE,
    RESULT,
    UPLOADED,
    MovableHarness,
    Yard,
    build_artifacts_move,
    download,
    fill,
    move_artifacts,
    require_complete_task,
    require_usable,
)
from tests.support.engine_harness import sha256
from tests.support.ministack import allow
from tests.support.moves import Interrupted, interrupt_after, read_content
from tests.support.object_store import TestBucket, use_credentials
from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.anyio

ARTIFACT_STEPS: list[MoveStep] = [step for step in MoveStep if step not in (MoveStep.COPIED, MoveStep.VERIFIED)]
TOTAL = len(FIRMWARE) + len(RESULT) + len(UPLOADED)


def input_key(content: bytes) -> str:
    return f"inputs/{sha256(content)[:2]}/{sha256(content)}"


def result_key(yard: Yard) -> str:
    return f"results/{yard.done.id}/{yard.done.fencing_token}"


@pytest.fixture
async def yard(tmp_path: Path, bucket: TestBucket) -> AsyncIterator[Yard]:
    harness = MovableHarness(tmp_path / "yard")
    await harness.create()
    await harness.open()
    await harness.add_default_subjects()
    yield await fill(harness)
    if harness.is_open:
        await harness.close()


@pytest.fixture(params=["folder", "bucket"])
async def source(request: pytest.FixtureRequest, yard: Yard, bucket: TestBucket) -> str:
    """Close the workspace, with its artifacts in the folder or in a bucket; return the other place."""
    if request.param == "folder":
        await yard.harness.close()
        return bucket.url
    await move_artifacts(yard.harness, bucket.url)
    await yard.harness.close()
    return FOLDER


async def test_move_there_and_back_twice(yard: Yard, bucket: TestBucket) -> None:
    harness = yard.harness
    files = (input_key(FIRMWARE), input_key(UPLOADED))
    for number, target in enumerate((bucket.url, FOLDER, bucket.url, FOLDER)):
        source = harness.places.artifacts
        plan = await move_artifacts(harness, target)
        assert plan.artifacts is not None
        assert (plan.artifacts.source, plan.artifacts.target) == (source, target)
        assert (plan.artifacts.inputs, plan.artifacts.results, plan.artifacts.size) == (2, 1, TOTAL)
        await require_usable(yard)
        entry = [entry for entry in await harness.audit_entries() if entry.message.startswith("inputs and results")][-1]
        assert entry.message == f"inputs and results moved from {source} to {target}: 2 inputs, 1 result"
        assert entry.seq == plan.audit_entries
        assert entry.new_value is not None
        assert (entry.new_value["size"], entry.new_value["skipped"]) == (TOTAL, 0)
        is_in_bucket = target == bucket.url
        assert set(bucket.keys()) == {*files, result_key(yard), *(() if is_in_bucket else ("move.json",))}
        retired = harness.paths.artifacts / "moved" / f"artifacts-{number // 2 + 1}"
        assert (retired / "results" / yard.done.id).read_bytes() == RESULT
        assert any((harness.paths.artifacts / "results").iterdir()) is not is_in_bucket
    await harness.close()
    report = verify_log(harness.audit_source)
    assert report.size > 10
    await harness.open()
    await require_complete_task(yard)


async def test_move_between_buckets(yard: Yard, bucket: TestBucket) -> None:
    other_bucket = TestBucket(bucket.server)
    await move_artifacts(yard.harness, bucket.url)
    await move_artifacts(yard.harness, other_bucket.url)
    await require_usable(yard)
    assert set(bucket.keys()) > {"move.json"}
    assert len(other_bucket.keys()) == 3
    await require_complete_task(yard)
    assert (yard.harness.paths.artifacts / "incoming").exists()
    assert list((yard.harness.paths.artifacts / "incoming").iterdir()) == []


async def test_move_together_with_store(yard: Yard, bucket: TestBucket, database: TestDatabase) -> None:
    """Then only the artifacts, of a workspace in a database; at last both back."""
    harness = yard.harness
    other_bucket = TestBucket(bucket.server)
    await harness.close()
    steps: list[MoveStep] = []
    for store, artifacts in (
        (database.connection_string, bucket.url),
        (None, other_bucket.url),
        (FOLDER, FOLDER),
    ):
        plan = await build_artifacts_move(harness, artifacts, steps.append, store=store).run()
        assert plan.artifacts is not None
        assert plan.moves_store is (store is not None)
        expected_places = Places(store or harness.places.store, artifacts)
        assert harness.places == expected_places
        harness.database = None if expected_places.store == FOLDER else database
        await harness.open()
        await require_usable(yard)
        entries = [entry for entry in await harness.audit_entries() if entry.seq >= plan.audit_entries]
        messages = [entry.message.partition(" moved")[0] for entry in entries if " moved from" in entry.message]
        assert messages == (["workspace"] if store else []) + ["inputs and results"]
        if artifacts == FOLDER:
            await require_complete_task(yard)
        await harness.close()
    assert steps == [*MoveStep, *ARTIFACT_STEPS, *MoveStep]


@pytest.mark.parametrize("step", ARTIFACT_STEPS)
async def test_interrupted_move_is_repeated(yard: Yard, source: str, step: MoveStep) -> None:
    """Until the switch, the source can be used; afterwards, a repetition completes the move."""
    harness, target = yard.harness, source
    before = await read_usable_content(yard)
    with pytest.raises(Interrupted):
        await build_artifacts_move(harness, target, interrupt_after(step)).run()
    is_switched = ARTIFACT_STEPS.index(step) >= ARTIFACT_STEPS.index(MoveStep.SWITCHED)
    assert (harness.places.artifacts == target) is is_switched
    await harness.open()
    await require_usable(yard)
    await harness.close()
    if step is MoveStep.FINISHED:
        with pytest.raises(ConflictError, match="Inputs and results of the workspace are already there"):
            await build_artifacts_move(harness, target).run()
    else:
        plan = await build_artifacts_move(harness, target).run()
        assert plan.artifacts is not None
        assert (plan.artifacts.inputs, plan.artifacts.results) == (2, 1)
    assert not harness.paths.move.exists()
    await harness.open()
    await require_usable(yard)
    after = await read_content(harness)
    assert after.documents == before
    moves = [entry for entry in await harness.audit_entries() if f"to {target}: " in entry.message]
    assert len(moves) == 1


async def read_usable_content(yard: Yard) -> dict[tuple[str, str], bytes]:
    await yard.harness.open()
    documents = (await read_content(yard.harness)).documents
    await yard.harness.close()
    return documents


async def test_copied_artifacts_are_not_copied_again(
    yard: Yard, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = yard.harness
    await harness.close()
    with pytest.raises(Interrupted):
        await build_artifacts_move(harness, bucket.url, interrupt_after(MoveStep.ARTIFACTS_COPIED)).run()
    bucket.delete(result_key(yard))
    bucket.replace(input_key(UPLOADED), UPLOADED.swapcase())
    stored_keys: list[str] = []
    original = Bucket.put

    def put(self: Bucket, key: str, *arguments: Any, **options: Any) -> None:
        stored_keys.append(key)
        original(self, key, *arguments, **options)

    monkeypatch.setattr(Bucket, "put", put)
    await build_artifacts_move(harness, bucket.url).run()
    prefix = "yard/w1/"
    copied_keys = {key.removeprefix(prefix) for key in stored_keys if key.startswith(prefix)} - {"move.json"}
    assert copied_keys == {result_key(yard), input_key(UPLOADED)}
    await harness.open()
    await require_usable(yard)


async def test_progress_is_reported(yard: Yard, source: str) -> None:
    reports: list[tuple[int, int]] = []
    await build_artifacts_move(yard.harness, source, on_progress=lambda *report: reports.append(report)).run()
    assert reports[-1] == (TOTAL, TOTAL)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


async def test_dry_run_changes_nothing(yard: Yard, source: str, bucket: TestBucket) -> None:
    keys, files = bucket.keys(), list_files(yard)
    plan = await build_artifacts_move(yard.harness, source).plan()
    assert plan.artifacts is not None
    assert (plan.artifacts.inputs, plan.artifacts.results, plan.artifacts.size) == (2, 1, TOTAL)
    assert (bucket.keys(), list_files(yard)) == (keys, files)


def list_files(yard: Yard) -> list[Path]:
    root = yard.harness.paths.root
    return sorted(path for path in root.rglob("*") if path.is_relative_to(root / "artifacts"))


# ---- damage


def damage_input(yard: Yard, bucket: TestBucket) -> None:
    """Replace the input of the waiting task, with content of the same size."""
    if yard.harness.places.artifacts == FOLDER:
        yard.harness.artifacts.input_path(sha256(FIRMWARE)).write_bytes(FIRMWARE.swapcase())
    else:
        bucket.replace(input_key(FIRMWARE), FIRMWARE.swapcase())


def remove_result(yard: Yard, bucket: TestBucket) -> None:
    if yard.harness.places.artifacts == FOLDER:
        yard.harness.artifacts.result_path(yard.done.id).unlink()
    else:
        bucket.delete(result_key(yard))


@pytest.mark.parametrize("spoil", [damage_input, remove_result])
async def test_incomplete_artifacts_stop_the_move(
    yard: Yard, source: str, bucket: TestBucket, spoil: Callable[[Yard, TestBucket], None]
) -> None:
    """The error names the tasks. They can be left behind."""
    harness, target = yard.harness, source
    old_place = harness.places
    spoil(yard, bucket)
    task = yard.done if spoil is remove_result else yard.waiting
    plan = await build_artifacts_move(harness, target).plan()
    assert plan.artifacts is not None
    (problem,) = plan.artifacts.problems
    assert problem.task_ids == (task.id,)
    expected = (
        (ArtifactKind.RESULT, ArtifactDefect.MISSING)
        if spoil is remove_result
        else (ArtifactKind.INPUT, ArtifactDefect.DAMAGED)
    )
    assert (problem.kind, problem.defect) == expected
    with pytest.raises(IntegrityError, match=task.id):
        require_complete(plan.artifacts)
    with pytest.raises(IntegrityError, match=f"of task {task.id} is {problem.defect}") as caught:
        await build_artifacts_move(harness, target).run()
    assert caught.value.structured_hint.code == HintCode.SKIP_DAMAGED
    assert harness.places == old_place
    await harness.open(work=False)
    await move_artifacts(harness, target, skip_damaged=True)
    entry = next(entry for entry in await harness.audit_entries() if f"to {target}: " in entry.message)
    assert entry.new_value is not None
    assert entry.new_value["skipped"] == 1
    if spoil is remove_result:
        with pytest.raises(ResultGoneError):
            await download(harness, yard.done)
        await require_complete_task(yard)
    else:
        assert await download(harness, yard.done) == RESULT
        names = [path.name for path in harness.paths.artifacts.glob("inputs/*/*")]
        assert sha256(FIRMWARE) not in (bucket.keys() if target == bucket.url else names)


async def test_damaged_upload_is_left_behind(yard: Yard, source: str, bucket: TestBucket) -> None:
    """No task needs it, and its client can send it again."""
    if yard.harness.places.artifacts == FOLDER:
        yard.harness.artifacts.input_path(sha256(UPLOADED)).write_bytes(b"damaged")
    else:
        bucket.replace(input_key(UPLOADED), b"damaged")
    plan = await build_artifacts_move(yard.harness, source).run()
    assert plan.artifacts is not None
    assert (plan.artifacts.inputs, plan.artifacts.problems) == (1, ())
    await yard.harness.open()
    assert await download(yard.harness, yard.done) == RESULT


async def test_link_in_the_folder_is_damage(yard: Yard, bucket: TestBucket, tmp_path: Path) -> None:
    """A file with another name could be changed while it is copied."""
    await yard.harness.close()
    path = yard.harness.artifacts.result_path(yard.done.id)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="is damaged"):
        await build_artifacts_move(yard.harness, bucket.url).run()


# ---- refusals


async def test_running_engine_is_refused(yard: Yard, bucket: TestBucket) -> None:
    with pytest.raises(WorkspaceLockedError):
        await build_artifacts_move(yard.harness, bucket.url).run()
    await require_usable(yard)


@pytest.mark.parametrize("denied", ["s3:PutObject", "s3:ListBucket", "s3:DeleteObject"])
async def test_bucket_without_permission_is_refused(
    yard: Yard, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, denied: str
) -> None:
    await yard.harness.close()
    policy = allow("s3:*")
    policy["Statement"].append({"Effect": "Deny", "Action": [denied], "Resource": "*"})
    with monkeypatch.context() as patch:
        use_credentials(patch, bucket.server.create_user(f"user-{bucket.name}", policy))
        for prepare in ("plan", "run"):
            with pytest.raises(ArtifactStoreError, match=f"does not permit {denied}"):
                await getattr(build_artifacts_move(yard.harness, bucket.url), prepare)()
    assert not yard.harness.paths.move.exists()
    await yard.harness.open()
    await require_usable(yard)


async def test_bucket_can_be_left_with_permission_to_read(
    yard: Yard, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move_artifacts(yard.harness, bucket.url)
    await yard.harness.close()
    use_credentials(monkeypatch, bucket.server.create_user(f"user-{bucket.name}", allow("s3:GetObject")))
    await build_artifacts_move(yard.harness, FOLDER).run()
    await yard.harness.open()
    await require_usable(yard)


async def test_place_of_another_copy_is_refused(yard: Yard, bucket: TestBucket, tmp_path: Path) -> None:
    """Its engine would remove what it does not know. Only one of two copies of a folder gets there."""
    await yard.harness.close()
    copy = MovableHarness(tmp_path / "copy", yard.harness.shelf.copy(yard.harness.clock), yard.harness.clock)
    shutil.copytree(yard.harness.paths.root, copy.paths.root)
    await build_artifacts_move(copy, bucket.url).run()
    for prepare in ("plan", "run"):
        with pytest.raises(ConflictError, match="already contains inputs or results of this workspace"):
            await getattr(build_artifacts_move(yard.harness, bucket.url), prepare)()
    await yard.harness.open()
    await require_usable(yard)


async def test_two_copies_cannot_move_at_once(yard: Yard, bucket: TestBucket, tmp_path: Path) -> None:
    await yard.harness.close()
    copy = MovableHarness(tmp_path / "copy", yard.harness.shelf.copy(yard.harness.clock), yard.harness.clock)
    shutil.copytree(yard.harness.paths.root, copy.paths.root)
    with pytest.raises(Interrupted):
        await build_artifacts_move(copy, bucket.url, interrupt_after(MoveStep.RECORDED)).run()

    def move_copy(step: MoveStep) -> None:
        if step is MoveStep.ARTIFACTS_COPIED:
            with pytest.raises(Interrupted):
                asyncio.run(build_artifacts_move(copy, bucket.url, interrupt_after(step)).run())

    with pytest.raises(ConflictError, match="at the same time"):
        await run_in_thread(
            lambda: asyncio.run(build_artifacts_move(yard.harness, bucket.url, _in_thread(move_copy)).run())
        )
    await yard.harness.open()
    await require_usable(yard)


def _in_thread(action: Callable[[MoveStep], None]) -> Callable[[MoveStep], None]:
    """Return a function that runs an action, which needs an event loop of its own, in a thread."""
    from concurrent.futures import ThreadPoolExecutor

    def call(step: MoveStep) -> None:
        with ThreadPoolExecutor(1) as executor:
            executor.submit(action, step).result()

    return call


async def run_in_thread(action: Callable[[], object]) -> object:
    return await asyncio.to_thread(action)


async def test_files_in_the_target_folder_are_kept(yard: Yard, bucket: TestBucket) -> None:
    await move_artifacts(yard.harness, bucket.url)
    await yard.harness.close()
    important = yard.harness.paths.artifacts / "results" / "important"
    important.write_bytes(b"")
    with pytest.raises(ConflictError, match="contains files"):
        await build_artifacts_move(yard.harness, FOLDER).run()
    assert important.exists()


async def test_full_disk_is_found_before_the_copy(
    yard: Yard, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move_artifacts(yard.harness, bucket.url)
    await yard.harness.close()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=TOTAL - 1))
        for prepare in ("plan", "run"):
            with pytest.raises(StorageError, match=f"{TOTAL} bytes needed"):
                await getattr(build_artifacts_move(yard.harness, FOLDER), prepare)()
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=TOTAL))
        await build_artifacts_move(yard.harness, FOLDER).plan()
    await yard.harness.open()
    await require_usable(yard)


async def test_cancelled_move_can_be_repeated(yard: Yard, source: str) -> None:
    loop = asyncio.get_running_loop()

    def cancel(_: int, __: int) -> None:
        loop.call_soon_threadsafe(moving.cancel)

    moving = asyncio.create_task(build_artifacts_move(yard.harness, source, on_progress=cancel).run())
    with pytest.raises(asyncio.CancelledError):
        await moving
    await yard.harness.open()
    await require_usable(yard)
    await move_artifacts(yard.harness, source)
    await require_usable(yard)


# ---- tasks


async def test_running_task_continues_with_its_published_file(yard: Yard, bucket: TestBucket) -> None:
    """Its result was stored in the folder, but not recorded before the engine stopped."""
    harness = yard.harness
    await harness.approve(yard.waiting)
    worker = await harness.wait_for_worker(yard.waiting)
    worker.output_path("container").write_bytes(b"nearly a result")
    await harness.close()
    worker.output_path("container").rename(harness.artifacts.result_path(yard.waiting.id))
    await build_artifacts_move(harness, bucket.url).run()
    assert worker.output_path("container").read_bytes() == b"nearly a result"
    await harness.open()
    next_worker = await harness.wait_for_worker(yard.waiting)
    assert next_worker.fencing_token == 2
    next_worker.request_signing()
    await harness.wait_until(lambda: next_worker.permitted)
    next_worker.finish(b"a result")
    task = await harness.wait_until_final(yard.waiting)
    assert task.status is TaskStatus.DONE
    assert await download(harness, task) == b"a result"
