"""Recovery of a workspace whose engine refuses to start, because the folder is an older or another copy.

The worker state starts a new epoch, in which the audit log continues from its newest checkpoint. The next start of the
engine cancels all unfinished tasks and audits the recovery, also if it was interrupted in between. Damage is not
recovered: a state, store or log that does not verify is refused here as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.audit.checkpointing import migrate_pending_entries
from sealyard.engine.audit.history import find_gap
from sealyard.engine.open_engine import open_engine
from sealyard.engine.state.open_state import require_files
from sealyard.engine.state.tables import INDEXES, TASKS
from sealyard.engine.workspace import load_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.errors import AuditVerificationError, ConflictError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_holder_messages import AnchorProblem, StateReport, StoreGeneration
from sealyard.model.recovery import RecoveryPlan
from sealyard.model.tasks import TaskStatus
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


class _Files(NamedTuple):
    store: TinyDocumentStore
    audit: AuditLog
    gap: AuditVerificationError | None


async def plan_recovery(paths: WorkspacePaths, key_holder: KeyHolder) -> RecoveryPlan:
    """Find out why the engine of the workspace refuses to start.

    Raises :class:`WorkspaceLockedError` if another process has the workspace open, and the error that shows that the
    worker state, the store or the audit log is damaged.
    """
    with _locked(paths):
        return await _plan(paths, key_holder)


async def recover_workspace(paths: WorkspacePaths, key_holder: KeyHolder, *, adopt: bool) -> RecoveryPlan:
    """Recover the workspace, and return what was found before.

    ``key_holder`` must have been started for a recovery. ``adopt``: whether to accept a folder without a valid
    freshness anchor. Raises :class:`ConflictError` if nothing is wrong, or if ``adopt`` does not fit, and the errors of
    :func:`plan_recovery`.
    """
    with _locked(paths):
        plan = await _plan(paths, key_holder)
        require_recoverable(plan, adopt=adopt)
        note = await run_uncancellable(AuditReader(paths.audit).last_note)
        assert note is not None
        await key_holder.recover_state(note, adopt=adopt)
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


@contextmanager
def _locked(paths: WorkspacePaths) -> Iterator[None]:
    lock = WorkspaceLock.acquire(paths.lock, PURPOSE)
    try:
        yield
    finally:
        lock.release()


async def _plan(paths: WorkspacePaths, key_holder: KeyHolder) -> RecoveryPlan:
    metadata = load_metadata(paths)
    require_files(metadata)
    report = await key_holder.inspect_state()
    keys = await key_holder.get_engine_keys()
    credentials = StoreCredentials(keys.store_key, metadata.id)
    files = await run_uncancellable(partial(_open_files, paths, credentials, report.store_generation))
    try:
        return await asyncio.to_thread(_create_plan, files, report)
    finally:
        await run_uncancellable(files.store.close)


def _open_files(paths: WorkspacePaths, credentials: StoreCredentials, generation: StoreGeneration | None) -> _Files:
    """Verify and open store and log. Like each start, complete the log from the store if they have the same history.

    ``generation``: the generation of the store that the worker state has recorded.

    Raises the error if one is damaged, or :class:`AuditVerificationError` if the log has no checkpoint.
    """
    store = TinyDocumentStore.open(StoreOpening.start(paths.store), INDEXES, credentials, generation)
    try:
        return _open_audit_log(paths, store)
    except BaseException:
        store.close()
        raise


def _open_audit_log(paths: WorkspacePaths, store: TinyDocumentStore) -> _Files:
    audit = AuditLog.open(paths.audit)
    audit.require_checkpoints()
    if audit.last_note() is None:
        raise AuditVerificationError(
            "The audit log of the workspace was removed.", "Restore the whole workspace from one backup."
        )
    gap = find_gap(store, audit, audit.size)
    if gap is None:
        migrate_pending_entries(store, audit)
    return _Files(store, audit, gap)


def _create_plan(files: _Files, report: StateReport) -> RecoveryPlan:
    checkpoint = files.audit.last_checkpoint()
    assert checkpoint is not None
    statuses = [TaskStatus(document["status"]) for _, document in files.store.all(TASKS.name)]
    return RecoveryPlan(
        worker_state=report,
        audit_entries=files.audit.size,
        audit_size=checkpoint.size,
        audit_root=checkpoint.root,
        unsigned_entries=files.audit.size - checkpoint.size,
        unfinished_tasks=sum(not status.is_final for status in statuses),
        problems=tuple(_find_problems(files, report)),
    )


def _find_problems(files: _Files, report: StateReport) -> Iterator[str]:
    if report.problem is not None:
        yield _ANCHOR_PROBLEMS[report.problem]
    if files.gap is not None:
        yield files.gap.message
    try:
        files.audit.require_signed(report.state.audit_size, report.state.audit_root)
    except AuditVerificationError as error:
        yield error.message
