"""Open the store and the audit log of a workspace in PostgreSQL for a recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from sealyard.audit.verify import verify_log
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.recoverable_state import RecoverableState, RecoverableTask, require_note
from sealyard.engine.state.tables import TASKS
from sealyard.model.errors import StoreCorruptedError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.postgres.audit import PgAudit
from sealyard.storage.postgres.opening import PgStoreOpening, require_current


@asynccontextmanager
async def open_recoverable(
    opening: PgStoreOpening, credentials: StoreCredentials, recorded: StoreGeneration | None
) -> AsyncIterator[RecoverableState]:
    """Verify store and audit log, whose lease is acquired.

    They may be older than ``recorded``, the generation that the worker state has recorded, or have another history.
    Raises :class:`StoreCorruptedError` if the store was changed or removed, and :class:`AuditVerificationError` if the
    log was.
    """
    audit, problems = await run_uncancellable(partial(_verify, opening, credentials, recorded))
    try:
        note = await run_uncancellable(partial(require_note, audit))
        decoder = msgspec.json.Decoder(RecoverableTask)
        tasks = {identity: decoder.decode(body) for identity, body in opening.tables.get(TASKS.name, {}).items()}
        generation = opening.generation
        assert generation is not None
        yield RecoverableState(generation, tasks, audit, note, problems)
    finally:
        await run_uncancellable(audit.close)


def _verify(
    opening: PgStoreOpening, credentials: StoreCredentials, recorded: StoreGeneration | None
) -> tuple[PgAudit, tuple[str, ...]]:
    head = opening.head
    if head is None:
        raise StoreCorruptedError("The database does not contain the workspace.", "Restore the database from a backup.")
    opening.verify(credentials, None)
    problems: tuple[str, ...] = ()
    try:
        require_current(head, recorded)
    except StoreCorruptedError as error:
        problems = (error.message,)
    audit = PgAudit.open(opening.database, credentials.workspace_id, head)
    try:
        verify_log(audit)
    except BaseException:
        audit.close()
        raise
    return audit, problems
