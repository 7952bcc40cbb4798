"""Move of store and audit log between the folder of a workspace and a database.

The workspace folder stays where it is, with keys, worker state, artifacts and settings. The steps are those of
:class:`~sealyard.model.moves.MoveStep`:

1. ``move.json`` records the move. By it, a later run recognizes what an interrupted one left in the target.
2. The content is copied as the next generation of the store, and read again. No engine can open the copy yet.
3. ``workspace.json`` is replaced. Before that, the source is the workspace, after it the copy.
4. The copy is activated, the source is retired, and ``move.json`` removed.
5. An engine opens the copy. Its generation is recorded in the worker state, which refuses the source from then on, and
   the move is audited.

A run that was interrupted before step 3 is repeated from the start; after it, the next run does steps 4 and 5.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from sealyard.audit.verify import verify_log
from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.audit.checkpointing import CheckpointLoop
from sealyard.engine.key_migration import KeyMigration
from sealyard.engine.move_places import MovePlaces
from sealyard.engine.open_engine import open_engine
from sealyard.engine.state.events import EventBroadcaster
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.open_state import acquire_lease, check_connection_string, open_state
from sealyard.engine.state.opened_state import OpenedState
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import MOVES, StoredMove, encode_document
from sealyard.engine.workspace import build_key_store_location, load_metadata, lock_workspace, save_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.bus import JobBus
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.clock import Clock
from sealyard.model.errors import ConflictError, InvalidInputError, WorkspaceLockedError
from sealyard.model.events import DurableEvent
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode
from sealyard.model.moves import FOLDER, MovePlan, MoveRecord, MoveStep
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.storage.content import CopyTarget, WorkspaceContent, compute_digest, iter_documents, list_checkpoints
from sealyard.storage.frame_chain import StoreCredentials

PURPOSE = "workspace move"

MAX_SHOWN_TEXTS = 5

OnStep = Callable[[MoveStep], object]


class _Source(NamedTuple):
    """The verified content of the source, its plan, and the keys for the copy.

    ``old_record``: that of an earlier run, which was interrupted before the switch.
    """

    metadata: WorkspaceMetadata
    old_record: MoveRecord | None
    content: WorkspaceContent
    plan: MovePlan
    credentials: StoreCredentials


def _ignore_step(_: MoveStep) -> None:
    """Do nothing: the caller does not show the steps."""


async def plan_move(paths: WorkspacePaths, key_holder: KeyHolder, target: str, *, repair: bool = False) -> MovePlan:
    """Verify the workspace, and check that it can be moved. Raises the errors of :func:`move_workspace`."""
    async with _open_bus(paths, key_holder) as bus:
        return await WorkspaceMove(paths, bus, SystemClock(), target, repair=repair).plan()


async def move_workspace(
    paths: WorkspacePaths,
    key_holder: KeyHolder,
    target: str,
    *,
    repair: bool = False,
    on_step: OnStep = _ignore_step,
) -> MovePlan:
    """Move store and audit log to ``target``, and return what was moved.

    ``target`` is :data:`~sealyard.model.moves.FOLDER` or the connection string of a database. ``repair``: whether to
    replace U+0000 in names, which a database does not support. ``on_step`` is called in any thread.

    Raises :class:`WorkspaceLockedError` if another process has the workspace open, the error that shows that store or
    audit log are damaged, :class:`ConflictError` if the workspace is in ``target`` already, or if the target contains
    another copy of it, :class:`InvalidInputError` if the target cannot contain a text, and :class:`StorageError` or
    :class:`WorkspaceError` if the target cannot be written.
    """
    async with _open_bus(paths, key_holder) as bus:
        plan = await WorkspaceMove(paths, bus, SystemClock(), target, repair=repair, on_step=on_step).run()
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
        target: str,
        *,
        repair: bool = False,
        on_step: OnStep = _ignore_step,
    ) -> None:
        """See :func:`move_workspace`. Raises :class:`UsageError` if the connection string cannot be used."""
        if target != FOLDER:
            check_connection_string(target)
        self._paths = paths
        self._bus = bus
        self._clock = clock
        self._target = target
        self._repair = repair
        self._on_step = on_step
        self._places = MovePlaces(paths)

    async def plan(self) -> MovePlan:
        """Verify the source, and check the target. The audit log is completed, as at each start of an engine."""
        record = self._places.load_record()
        if record is not None and record.plan.target == _place_of(load_metadata(self._paths)) == self._target:
            return record.plan
        async with self._open_source() as source:
            attempts = () if source.old_record is None else source.old_record.attempts
            target = self._places.open_target(self._target, source.credentials, attempts, source.old_record)
            await run_uncancellable(target.check)
            return source.plan

    async def run(self) -> MovePlan:
        """Move the workspace, or finish a move that was interrupted."""
        finished_plan = await self._finish_earlier_run()
        if finished_plan is not None and finished_plan.target == self._target:
            return finished_plan
        async with self._open_source() as source:
            return await self._move(source)

    async def _finish_earlier_run(self) -> MovePlan | None:
        """Finish a move that was interrupted after the switch, and return its plan; None if there is none."""
        with WorkspaceLock.acquire(self._paths.lock, PURPOSE):
            metadata, record = load_metadata(self._paths), self._places.load_record()
            if record is None or record.plan.target != _place_of(metadata):
                return None
            await self._finish(metadata, record)
            return record.plan

    async def _move(self, source: _Source) -> MovePlan:
        require_supported(source.plan)
        metadata, old_record = source.metadata, source.old_record
        old_attempts = () if old_record is None else old_record.attempts
        attempts = (*old_attempts, secrets.token_hex(32))
        content = _add_move(source, attempts[-1])
        target = self._places.open_target(self._target, source.credentials, attempts, old_record)
        await run_uncancellable(target.check)
        record = MoveRecord(plan=source.plan, generation=content.generation, attempts=attempts)
        await run_uncancellable(partial(self._places.save_record, record))
        self._on_step(MoveStep.RECORDED)
        await run_uncancellable(partial(self._copy, target, content))
        database = UNSET if self._target == FOLDER else self._target
        new_metadata = msgspec.structs.replace(metadata, database=database)
        await run_uncancellable(partial(self._places.require_current, record, metadata.id))
        await run_uncancellable(partial(save_metadata, self._paths, new_metadata))
        self._on_step(MoveStep.SWITCHED)
        await self._finish(new_metadata, record)
        return source.plan

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

    @asynccontextmanager
    async def _open_source(self) -> AsyncIterator[_Source]:
        """Lock, open and verify the source completely. Its audit log ends with a signed checkpoint then."""
        metadata = load_metadata(self._paths)
        if _place_of(metadata) == self._target:
            raise ConflictError("Store and audit log of the workspace are already there.", "Nothing was changed.")
        async with AsyncExitStack() as resources:
            opening = await acquire_lease(metadata)
            if opening is not None:
                resources.push_async_callback(run_uncancellable, opening.cancel)
            lock = await lock_workspace(self._paths, PURPOSE, has_lease=opening is not None)
            resources.callback(lock.release)
            if load_metadata(self._paths) != metadata:
                raise WorkspaceLockedError("The workspace was moved at this moment.", "Try again.")
            state = await open_state(self._paths, metadata, self._bus, opening)
            resources.push_async_callback(run_uncancellable, state.close)
            await self._complete_audit_log(state, metadata)
            yield await run_uncancellable(partial(self._load_source, state, metadata))

    async def _complete_audit_log(self, state: OpenedState, metadata: WorkspaceMetadata) -> None:
        """Check the log against store and worker state, and sign a checkpoint of all entries, as an engine does.

        A workspace of an earlier version is migrated before that.
        """
        assert state.audit is not None
        assert state.keys is not None
        events = EventBroadcaster(msgspec.convert(state.store.recent_events(), list[DurableEvent]))
        repository = Repository(state.store, state.audit, events, self._clock)
        checkpoint_loop = CheckpointLoop(repository, state.audit, self._bus, f"sealyard/{metadata.id}")
        await checkpoint_loop.open_log()
        links, secret_box = DownloadLinks(metadata.id, state.keys.link_key), SecretBox(state.keys.secrets_key)
        await KeyMigration(repository, metadata, self._paths, links, secret_box).run()
        await checkpoint_loop.checkpoint()

    def _load_source(self, state: OpenedState, metadata: WorkspaceMetadata) -> _Source:
        assert state.keys is not None
        assert state.store.generation is not None
        report = verify_log(state.audit_source)
        content = WorkspaceContent(
            tables=state.store.tables,
            events=state.store.recent_events_json(),
            generation=state.store.generation,
            audit=state.audit_source,
        )
        unsupported: Sequence[str] = ()
        repaired_count = 0
        if self._target != FOLDER:
            content, repaired_count, unsupported = self._places.make_supported(content, repair=self._repair)
        document_count, digest = compute_digest(iter_documents(content.tables))
        plan = MovePlan(
            source=_place_of(metadata),
            target=self._target,
            documents=document_count,
            events=len(content.events),
            audit_entries=report.size,
            checkpoints=len(list_checkpoints(content.audit)),
            documents_digest=digest,
            audit_root=report.root,
            unsupported=tuple(unsupported),
            repaired=repaired_count,
        )
        return _Source(
            metadata, self._places.load_record(), content, plan, StoreCredentials(state.keys.store_key, metadata.id)
        )


def _place_of(metadata: WorkspaceMetadata) -> str:
    return FOLDER if metadata.database is UNSET else metadata.database


def _add_move(source: _Source, identity: str) -> WorkspaceContent:
    """Return the content of the copy, with a document by which the first engine that opens it audits the move."""
    plan = source.plan
    move = StoredMove(
        id=identity,
        source=plan.source,
        target=plan.target,
        audit_size=plan.audit_entries,
        audit_root=plan.audit_root,
        generation=source.content.generation.number,
        repaired=plan.repaired,
    )
    tables = {**source.content.tables, MOVES.name: {move.id: bytes(encode_document(move))}}
    return source.content._replace(tables=tables)


def require_supported(plan: MovePlan) -> None:
    """Raise :class:`InvalidInputError` if the target cannot contain a text."""
    texts = plan.unsupported
    if not texts:
        return
    shown_texts = ", ".join(texts[:MAX_SHOWN_TEXTS])
    more = ", …" if len(texts) > MAX_SHOWN_TEXTS else ""
    raise InvalidInputError(
        f"{format_count(len(texts), 'text contains', 'texts contain')} the character U+0000, which the database does"
        f" not support: {escape_text(shown_texts, 1000)}{more}.",
        Hint.of(HintCode.REPAIR_NAMES),
    )
