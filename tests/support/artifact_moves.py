"""Move inputs and results of a workspace between its folder and buckets, and compare them before and after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from sealyard.engine.move_workspace import WorkspaceMove
from sealyard.engine.state.open_artifacts import open_artifacts
from sealyard.engine.workspace import load_metadata
from sealyard.model.moves import MovePlan, MoveStep, Places
from sealyard.model.tasks import InputFile, Task
from sealyard.storage.artifacts import ArtifactStore, FileArtifacts
from tests.support.engine_harness import DEV, EngineHarness
from tests.support.fake_bus import FakeBus

UPLOAD, PARTIAL_UPLOAD = "a-complete-upload", "an-upload-in-progress"
FIRMWARE, RESULT, UPLOADED = b"firmware that waits", b"a container", b"uploaded content"


class MovableHarness(EngineHarness):
    """A workspace whose inputs and results are where ``workspace.json`` says.

    ``artifacts`` is the folder of workers.
    """

    async def open_artifacts(self) -> ArtifactStore:
        self.artifacts = FileArtifacts(self.paths.artifacts)
        return await open_artifacts(self.paths, load_metadata(self.paths))

    @property
    def places(self) -> Places:
        return Places.of(load_metadata(self.paths))


class Yard(NamedTuple):
    """A workspace with a released package, one that waits, and uploads. ``done`` has the result :data:`RESULT`."""

    harness: MovableHarness
    done: Task
    waiting: Task


async def fill(harness: MovableHarness) -> Yard:
    done = await harness.done_package(RESULT)
    firmware = await harness.upload(FIRMWARE)
    waiting = await harness.package(firmware=(firmware,))
    uploads = harness.engine.uploads
    await uploads.create(DEV, UPLOAD, "uploaded.bin", len(UPLOADED))
    await uploads.write(DEV, UPLOAD, 0, send(UPLOADED))
    await uploads.create(DEV, PARTIAL_UPLOAD, "partial.bin", len(UPLOADED))
    await uploads.write(DEV, PARTIAL_UPLOAD, 0, send(UPLOADED[:5]))
    return Yard(harness, done, waiting)


async def send(content: bytes) -> AsyncIterator[bytes]:
    yield content


def build_artifacts_move(
    harness: MovableHarness,
    artifacts: str | None,
    on_step: Callable[[MoveStep], object] = lambda _: None,
    *,
    store: str | None = None,
    skip_damaged: bool = False,
    on_progress: Callable[[int, int], object] = lambda _, __: None,
) -> WorkspaceMove:
    """Return a move of a closed workspace. The arguments are those of :class:`WorkspaceMove`."""
    bus = FakeBus(harness.shelf, harness.clock)
    return WorkspaceMove(
        harness.paths,
        bus,
        harness.clock,
        store,
        artifacts=artifacts,
        skip_damaged=skip_damaged,
        on_step=on_step,
        on_progress=on_progress,
    )


async def move_artifacts(harness: MovableHarness, artifacts: str, *, skip_damaged: bool = False) -> MovePlan:
    """Close the engine, move inputs and results, and open the engine."""
    if harness.is_open:
        await harness.close()
    plan = await build_artifacts_move(harness, artifacts, skip_damaged=skip_damaged).run()
    await harness.open()
    assert harness.places.artifacts == artifacts
    return plan


async def download(harness: EngineHarness, task: Task) -> bytes:
    chunks = harness.engine.delivery.download(DEV, task.id, 0)
    return b"".join([chunk async for chunk in harness.engine.stream(DEV, "TEST", chunks)])


async def require_usable(yard: Yard) -> None:
    """Check that the old result can be downloaded, uploads continue, and the waiting task has its input."""
    harness = yard.harness
    assert await download(harness, yard.done) == RESULT
    (uploaded,) = harness.engine.uploads.resolve(DEV, [UPLOAD])
    harness.engine.inputs.require([uploaded, InputFile(name="x", size=len(FIRMWARE), sha256=_digest(yard.waiting))])
    assert harness.engine.uploads.get(DEV, PARTIAL_UPLOAD).offset == 5


async def require_complete_task(yard: Yard, container: bytes = b"another container") -> None:
    """Approve the waiting task, and check what its worker reads and that its result can be downloaded."""
    harness = yard.harness
    await harness.approve(yard.waiting)
    worker = await harness.wait_for_worker(yard.waiting)
    assert harness.artifacts.input_path(_digest(yard.waiting)).read_bytes() == FIRMWARE
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish(container)
    task = await harness.wait_until_final(yard.waiting)
    assert await download(harness, task) == container


def _digest(task: Task) -> str:
    return task.inputs[0].sha256
