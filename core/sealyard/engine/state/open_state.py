"""Open the store and the audit log of a workspace: in its folder, or in a database."""

from __future__ import annotations

from functools import partial

from msgspec import UNSET

from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.open_store import open_store, open_store_reader
from sealyard.engine.state.opened_state import OpenedState
from sealyard.jobs.bus import JobBus
from sealyard.model.errors import WorkspaceError
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths


async def open_state(paths: WorkspacePaths, metadata: WorkspaceMetadata, bus: JobBus) -> OpenedState:
    """Open and verify store and audit log. The workspace must be locked.

    Raises the errors of :func:`~sealyard.engine.state.open_store.open_store` or
    :func:`~sealyard.engine.state.open_postgres.open_postgres`, :class:`AuditVerificationError` if the audit log was
    changed, and :class:`WorkspaceError` if the packages for a database are not installed.
    """
    if metadata.database is not UNSET:
        try:
            from sealyard.engine.state.open_postgres import open_postgres
        except ModuleNotFoundError as error:
            raise WorkspaceError(
                f"The store of the workspace is in PostgreSQL, which needs the Python package {error.name}.",
                "Install the extra: pip install 'sealyard[postgres]'.",
            ) from error
        return await open_postgres(metadata.database, metadata.id, bus)
    store, keys = await open_store(paths, metadata, bus)
    try:
        audit = await run_uncancellable(partial(AuditLog.open, paths.audit))
    except BaseException:
        await run_uncancellable(store.close)
        raise
    return OpenedState(store, audit, AuditReader(paths.audit), keys)


def open_reader_state(paths: WorkspacePaths, metadata: WorkspaceMetadata) -> OpenedState:
    """Open the files of store and audit log for reading, without verifying them.

    Raises :class:`WorkspaceError` if the store is in a database, and the errors of
    :func:`~sealyard.engine.state.open_store.open_store_reader`.
    """
    require_files(metadata)
    return OpenedState(open_store_reader(paths), None, AuditReader(paths.audit), None)


def require_files(metadata: WorkspaceMetadata) -> None:
    """Raise :class:`WorkspaceError` if the store of the workspace is in a database."""
    if metadata.database is not UNSET:
        raise WorkspaceError(
            "The store of the workspace is in a database, which is only read by the engine that has it open.",
            "Use the process that has the workspace open, or open it for writing.",
        )
