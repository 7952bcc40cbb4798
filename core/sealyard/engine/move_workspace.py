"""Move of a workspace: of store and audit log to or from a database, of inputs and results to or from a bucket.

The workspace folder stays where it is, with keys, worker state, uploads, work folders and settings. The steps are those
of :class:`~sealyard.model.moves.MoveStep`:

1. ``move.json`` records the move. By it, a later run recognizes what an interrupted one left in the target.
2. Inputs and results are copied, and their digests verified.
3. Store and audit log are copied as the next generation of the store, and read again. No engine can open the copy yet.
   If they stay where they are, the store gets a document by which the move is audited.
4. ``workspace.json`` is replaced. Before that, the source is the workspace, after it the copy.
5. The copy is activated, the source is retired, and ``move.json`` removed.
6. An engine opens the copy. Its generation is recorded in the worker state, which refuses the source from then on, and
   the move is audited.

A run that was interrupted before step 4 is repeated from the start, except for what is copied in step 2; after it, the
next run does steps 5 and 6.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from msgspec import UNSET

from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import run_cancellable, run_uncancellable
from sealyard.engine.audit.moves import add_move, announce_move
from sealyard.engine.move_artifacts import ArtifactsMove, OnProgress, require_complete, unpublish_unfinished
from sealyard.engine.move_places import MovePlaces, require_supported
from sealyard.engine.move_source import PURPOSE, MoveSource, SourceOpener
from sealyard.engine.open_engine import open_engine
from sealyard.engine.state.open_artifacts import check_artifacts_url
from sealyard.engine.state.open_state import check_connection_string
from sealyard.engine.workspace import build_key_store_location, load_metadata, save_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.bus import JobBus
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.clock import Clock
from sealyard.model.moves import FOLDER, MovePlan, MoveRecord, MoveStep, MoveTarget, Places
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.storage.content import CopyTarget, WorkspaceContent

OnStep = Callable[[MoveStep], object]


def _ignore_step(_: MoveStep) -> None:
    """Do nothing: the caller does not show the steps."""


def _ignore_progress(_: int, __: int) -> None:
    """Do nothing: the caller does not show the progress."""


async def plan_move(
    paths: WorkspacePaths,
    key_holder: KeyHolder,
    target: str | None,
    *,
    artifacts: str | None = None,
    repair: bool = False,
) -> MovePlan:
    """Verify the workspace, and check that it can be moved. Raises the errors of :func:`move_workspace`.

    Missing and damaged inputs and results, and texts that the target cannot contain, are part of the plan.
    """
    async with _open_bus(paths, key_holder) as bus:
        return await WorkspaceMove(paths, bus, SystemClock(), target, artifacts=artifacts, repair=repair).plan()


async def move_workspace(
    paths: WorkspacePaths,
    key_holder: KeyHolder,
    target: str | None,
    *,
    artifacts: str | None = None,
    repair: bool = False,
    skip_damaged: bool = False,
    on_step: OnStep = _ignore_step,
    on_progress: OnProgress = _ignore_progress,
) -> MovePlan:
    """Move a workspace, and return what was moved.

    ``target``: of store and audit log, :data:`~sealyard.model.moves.FOLDER` or the connection string of a database.
    ``artifacts``: of inputs and results, FOLDER or the URL of a place in S3. What is None stays where it is.
    ``repair``: whether to replace U+0000 in names, which a database does not support. ``skip_damaged``: whether to
    leave missing and damaged inputs and results behind. ``on_step`` and ``on_progress`` are called in any thread.

    Raises :class:`WorkspaceLockedError` if another process has the workspace open, the error that shows that store or
    audit log are damaged, :class:`IntegrityError` if an input or result is, :class:`ConflictError` if the workspace is
    in the target already, the target contains another copy of it, or crypto hosts could not read its inputs there,
    :class:`InvalidInputError` if the target cannot contain a text, and :class:`StorageError` or :class:`WorkspaceError`
    if the target cannot be written.
    """
    async with _open_bus(paths, key_holder) as bus:
        move = WorkspaceMove(
            paths,
            bus,
            SystemClock(),
            target,
            artifacts=artifacts,
            repair=repair,
            skip_damaged=skip_damaged,
            on_step=on_step,
            on_progress=on_progress,
        )
        plan = await move.run()
    # The engine records the generation of the copy, and audits the move.
    engine = await open_engine(paths, purpose=PURPOSE, key_holder=key_holder, work=False)
    await engine.close()
    return plan


@asynccontextmanager
async def _open_bus(paths: WorkspacePaths, key_holder: KeyHolder) -> AsyncIterator[JobBus]:
    location = build_key_store_location(paths, load_metadata(paths))
    bus = PipeBus.open(key_holder, location, SystemClock(), workers=2)
    try:
        yield bus
    finally:
        await bus.close()


class WorkspaceMove:
    """One run of a move, up to the activation of the copy. The caller opens an engine afterwards."""

    def __init__(
        self,
        paths: WorkspacePaths,
        bus: JobBus,
        clock: Clock,
        target: str | None,
        *,
        artifacts: str | None = None,
        repair: bool = False,
        skip_damaged: bool = False,
        on_step: OnStep = _ignore_step,
        on_progress: OnProgress = _ignore_progress,
    ) -> None:
        """See :func:`move_workspace`. Raises :class:`UsageError` if connection string or URL cannot be used."""
        if target not in (None, FOLDER):
            check_connection_string(target)
        if artifacts not in (None, FOLDER):
            check_artifacts_url(artifacts)
        self._paths = paths
        self._target = MoveTarget(target, artifacts)
        self._opener = SourceOpener(paths, bus, clock, self._target, repair=repair)
        self._skip_damaged = skip_damaged
        self._on_step = on_step
        self._on_progress = on_progress
        self._places = MovePlaces(paths)

    async def plan(self) -> MovePlan:
        """Verify the source, and check the target. The audit log is completed, as at each start of an engine."""
        record, places = self._places.load_record(), Places.of(load_metadata(self._paths))
        if record is not None and record.plan.leads_to(places) and self._target.resolve(places) == places:
            return record.plan
        async with self._opener.open() as source:
            if source.plan.moves_store:
                await run_uncancellable(self._open_target(source, source.old_attempts).check)
            artifacts_move = self._open_artifacts_move(source)
            if artifacts_move is None:
                return source.plan
            return await self._inspect_artifacts(source, artifacts_move, read=True)

    async def run(self) -> MovePlan:
        """Move the workspace, or finish a move that was interrupted."""
        finished_plan = await self._finish_earlier_run()
        if finished_plan is not None:
            places = Places.of(load_metadata(self._paths))
            if self._target.resolve(places) == places:
                return finished_plan
        async with self._opener.open() as source:
            return await self._move(source)

    async def _finish_earlier_run(self) -> MovePlan | None:
        """Finish a move that was interrupted after the switch, and return its plan; None if there is none."""
        with WorkspaceLock.acquire(self._paths.lock, PURPOSE):
            metadata, record = load_metadata(self._paths), self._places.load_record()
            if record is None or not record.plan.leads_to(Places.of(metadata)):
                return None
            await self._finish(metadata, record)
            return record.plan

    async def _move(self, source: MoveSource) -> MovePlan:
        require_supported(source.plan)
        attempts = (*source.old_attempts, secrets.token_hex(32))
        if source.plan.moves_store:
            await run_uncancellable(self._open_target(source, attempts).check)
        artifacts_move = self._open_artifacts_move(source)
        record = MoveRecord(plan=source.plan, generation=source.content.generation, attempts=attempts)
        if artifacts_move is not None:
            plan = await self._inspect_artifacts(source, artifacts_move, read=False)
            self._require_complete(plan)
            retired_name = artifacts_move.choose_retired_name()
            record = msgspec.structs.replace(record, plan=plan, retired_artifacts=retired_name)
        await run_uncancellable(partial(self._places.save_record, record))
        self._on_step(MoveStep.RECORDED)
        if artifacts_move is not None:
            record = await self._copy_artifacts(source, artifacts_move, record)
        if record.plan.moves_store:
            content = add_move(source.content, record)
            await run_uncancellable(partial(self._copy, self._open_target(source, attempts), content))
        else:
            await announce_move(source.repository, record)
        await run_uncancellable(partial(self._places.require_current, record, source.metadata.id))
        new_metadata = _replace_places(source.metadata, source.target)
        await run_uncancellable(partial(save_metadata, self._paths, new_metadata))
        self._on_step(MoveStep.SWITCHED)
        await self._finish(new_metadata, record)
        return record.plan

    def _open_target(self, source: MoveSource, attempts: Sequence[str]) -> CopyTarget:
        return self._places.open_target(source.target.store, source.credentials, attempts, source.old_record)

    def _open_artifacts_move(self, source: MoveSource) -> ArtifactsMove | None:
        """Return the move of inputs and results; None if they stay where they are."""
        if source.plan.artifacts is None:
            return None
        return self._places.open_artifacts_move(source.metadata.id, source.plan.artifacts)

    async def _inspect_artifacts(self, source: MoveSource, move: ArtifactsMove, *, read: bool) -> MovePlan:
        """Check the target and the artifacts, and return the plan with them. ``read``: whether contents are read."""
        old_plan = None if source.old_record is None else source.old_record.plan.artifacts
        has_unfinished_copy = old_plan is not None and old_plan.target == source.target.artifacts
        await run_uncancellable(partial(move.check, source.artifacts, has_unfinished_copy=has_unfinished_copy))
        plan = await run_cancellable(partial(move.inspect, source.artifacts, read=read))
        return msgspec.structs.replace(source.plan, artifacts=plan)

    async def _copy_artifacts(self, source: MoveSource, move: ArtifactsMove, record: MoveRecord) -> MoveRecord:
        """Copy the artifacts, and return the record with what was copied."""
        if Places.of(source.metadata).artifacts == FOLDER:
            await run_uncancellable(partial(unpublish_unfinished, self._paths, source.repository))
        copy = partial(move.copy, source.artifacts, record.attempts[-1], self._on_progress)
        plan = await run_cancellable(copy)
        record = msgspec.structs.replace(record, plan=msgspec.structs.replace(record.plan, artifacts=plan))
        self._require_complete(record.plan)
        await run_uncancellable(partial(self._places.save_record, record))
        self._on_step(MoveStep.ARTIFACTS_COPIED)
        return record

    def _require_complete(self, plan: MovePlan) -> None:
        if plan.artifacts is not None and not self._skip_damaged:
            require_complete(plan.artifacts)

    def _copy(self, target: CopyTarget, content: WorkspaceContent) -> None:
        target.write(content)
        self._on_step(MoveStep.COPIED)
        target.verify(content)
        self._on_step(MoveStep.VERIFIED)

    async def _finish(self, metadata: WorkspaceMetadata, record: MoveRecord) -> None:
        """Activate the copy, retire the source, and remove the record. Idempotent."""
        await run_uncancellable(partial(self._places.activate, record, metadata.id))
        self._on_step(MoveStep.ACTIVATED)
        await run_uncancellable(partial(self._places.retire, record, metadata.id))
        self._on_step(MoveStep.RETIRED)
        await run_uncancellable(self._places.remove_record)
        self._on_step(MoveStep.FINISHED)


def _replace_places(metadata: WorkspaceMetadata, places: Places) -> WorkspaceMetadata:
    return msgspec.structs.replace(
        metadata,
        database=UNSET if places.store == FOLDER else places.store,
        artifacts=UNSET if places.artifacts == FOLDER else places.artifacts,
    )
