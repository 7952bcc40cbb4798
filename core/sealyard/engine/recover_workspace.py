"""Recovery of a workspace whose engine refuses to start, because its folder or database is an older or another copy.

The worker state starts a new epoch, in which the audit log continues from its newest checkpoint. The next start of the
engine cancels all unfinished tasks and audits the recovery, also if it was interrupted in between. Damage is not
recovered: a state, store or log that does not verify is refused here as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec

from sealyard.audit.checkpoint import parse_note
from sealyard.audit.log import AuditLog
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.audit.checkpointing import migrate_pending_entries
from sealyard.engine.audit.history import find_gap, find_lost_intent
from sealyard.engine.open_engine import open_engine
from sealyard.engine.state.open_state import acquire_lease
from sealyard.engine.state.recoverable_state import RecoverableState, RecoverableTask, require_note
from sealyard.engine.state.tables import INDEXES, TASKS
from sealyard.engine.workspace import load_metadata, lock_workspace
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.errors import AuditVerificationError, ConflictError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_holder_messages import AnchorProblem, StateReport, StoreGeneration
from sealyard.model.recovery import RecoveryPlan
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.documents import TinyDocumentStore
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.opening import StoreOpening

PURPOSE = "recover"

_ANCHOR_PROBLEMS = {
    AnchorProblem.MISSING: "The folder has no freshness anchor: it is a copy, or the anchor was removed.",
    AnchorProblem.DAMAGED: "The freshness anchor was not written by the key store of this workspace.",
    AnchorProblem.AHEAD: "The folder is an older copy: the freshness anchor knows newer records of the worker state.",
    AnchorProblem.DIVERGED: "The folder is another copy: its worker state differs from the freshness anchor.",
    AnchorProblem.EPOCH: "The folder is an older copy: the key store belongs to a newer one.",
}


async def plan_recovery(paths: WorkspacePaths, key_holder: KeyHolder) -> RecoveryPlan:
    """Find out why the engine of the workspace refuses to start.

    Raises :class:`WorkspaceLockedError` if another process has the workspace open, and the error that shows that the
    worker state, the store or the audit log is damaged.
    """
    async with _open_state(paths, key_holder) as state:
        return await _create_plan(state, key_holder)


async def recover_workspace(paths: WorkspacePaths, key_holder: KeyHolder, *, adopt: bool) -> RecoveryPlan:
    """Recover the workspace, and return what was found before.

    ``key_holder`` must have been started for a recovery. ``adopt``: whether to accept a folder without a valid
    freshness anchor. Raises :class:`ConflictError` if nothing is wrong, or if ``adopt`` does not fit, and the errors of
    :func:`plan_recovery`.
    """
    async with _open_state(paths, key_holder) as state:
        plan = await _create_plan(state, key_holder)
        require_recoverable(plan, adopt=adopt)
        await key_holder.recover_state(state.note, generation=state.generation, adopt=adopt)
    # The engine cancels the unfinished tasks and audits the recovery when it starts.
    engine = await open_engine(paths, purpose=PURPOSE, key_holder=key_holder, work=False)
    await engine.close()
    return plan


def require_recoverable(plan: RecoveryPlan, *, adopt: bool) -> None:
    """Raise :class:`ConflictError` if nothing is wrong with the workspace, or if ``adopt`` does not fit."""
    if not plan.problems:
        raise ConflictError("The workspace matches its freshness anchor; there is nothing to recover.")
    problem = plan.worker_state.problem
    if problem in (AnchorProblem.MISSING, AnchorProblem.DAMAGED):
        if not adopt:
            raise ConflictError(
                f"{_ANCHOR_PROBLEMS[problem]} Nothing shows how old this copy is. Nothing was changed.",
                Hint.of(HintCode.ADOPT_WORKSPACE),
            )
    elif adopt:
        raise ConflictError("The workspace has an anchor. Nothing was changed.", "Recover it without adopting it.")


@asynccontextmanager
async def _open_state(paths: WorkspacePaths, key_holder: KeyHolder) -> AsyncIterator[RecoverableState]:
    """Lock the workspace for the block, and verify store and log. Raises the errors of :func:`plan_recovery`."""
    metadata = load_metadata(paths)
    async with AsyncExitStack() as resources:
        opening = await acquire_lease(metadata)
        if opening is not None:
            resources.push_async_callback(run_uncancellable, opening.cancel)
        lock = await lock_workspace(paths, PURPOSE, has_lease=opening is not None)
        resources.callback(lock.release)
        credentials, recorded = await _load_credentials(metadata.id, key_holder)
        if opening is None:
            yield await resources.enter_async_context(_open_files(paths, credentials, recorded))
            return
        from sealyard.engine.state.recover_postgres import open_recoverable

        yield await resources.enter_async_context(open_recoverable(opening, credentials, recorded))


@asynccontextmanager
async def _open_files(
    paths: WorkspacePaths, credentials: StoreCredentials, recorded: StoreGeneration | None
) -> AsyncIterator[RecoverableState]:
    opening = await run_uncancellable(partial(StoreOpening.start, paths.store))
    store = await run_uncancellable(partial(TinyDocumentStore.open, opening, INDEXES, credentials, recorded))
    try:
        yield await run_uncancellable(partial(_load_files, paths, store))
    finally:
        await run_uncancellable(store.close)


async def _load_credentials(
    workspace_id: str, key_holder: KeyHolder
) -> tuple[StoreCredentials, StoreGeneration | None]:
    """Return the credentials of the store, and the generation that the worker state has recorded."""
    report = await key_holder.inspect_state()
    keys = await key_holder.get_engine_keys()
    return StoreCredentials(keys.store_key, workspace_id), report.store_generation


def _load_files(paths: WorkspacePaths, store: TinyDocumentStore) -> RecoverableState:
    """Verify the log. Like each start, complete it from the store if they have the same history.

    Raises the error if the log is damaged, or :class:`AuditVerificationError` if it has no checkpoint.
    """
    audit = AuditLog.open(paths.audit)
    note = require_note(audit)
    gap = find_gap(store, audit, audit.size)
    if gap is None:
        migrate_pending_entries(store, audit)
    assert store.generation is not None
    return RecoverableState(
        store.generation,
        {identity: msgspec.convert(document, RecoverableTask) for identity, document in store.all(TASKS.name)},
        audit,
        note,
        () if gap is None else (gap.message,),
    )


async def _create_plan(state: RecoverableState, key_holder: KeyHolder) -> RecoveryPlan:
    checkpoint, _ = parse_note(state.note)
    report = await key_holder.inspect_state(checkpoint.size)
    size = state.audit.size
    recorded = report.store_generation
    return RecoveryPlan(
        worker_state=report,
        generation=state.generation.number,
        lost_generations=0 if recorded is None else max(0, recorded.number - state.generation.number),
        audit_entries=size,
        audit_size=checkpoint.size,
        audit_root=checkpoint.root,
        unsigned_entries=size - checkpoint.size,
        lost_entries=max(0, _find_signed_size(report) - size),
        unfinished_tasks=sum(not task.status.is_final for task in state.tasks.values()),
        problems=tuple(_find_problems(state, report)),
    )


def _find_signed_size(report: StateReport) -> int:
    """Return the size of the last signed checkpoint that the worker state or its anchor knows."""
    return max(report.state.audit_size, 0 if report.anchor is None else report.anchor.audit_size)


def _find_fencing_token(state: RecoverableState, task_id: str) -> int | None:
    task = state.tasks.get(task_id)
    return None if task is None else task.fencing_token


def _find_problems(state: RecoverableState, report: StateReport) -> Iterator[str]:
    if report.problem is not None:
        yield _ANCHOR_PROBLEMS[report.problem]
    yield from state.problems
    lost_intent = find_lost_intent(report.recent_intents, lambda task_id: _find_fencing_token(state, task_id))
    if lost_intent is not None:
        yield lost_intent.message
    try:
        state.audit.require_signed(report.state.audit_size, report.state.audit_root)
    except AuditVerificationError as error:
        yield error.message
