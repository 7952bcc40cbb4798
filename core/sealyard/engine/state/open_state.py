"""Open the store and the audit log of a workspace: in its folder, or in a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from msgspec import UNSET

from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.open_store import open_store, open_store_reader
from sealyard.engine.state.opened_state import OpenedState
from sealyard.jobs.bus import JobBus
from sealyard.model.cluster import LeaseSettings
from sealyard.model.errors import WorkspaceError
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths

if TYPE_CHECKING:
    from sealyard.storage.postgres.opening import PgStoreOpening


async def acquire_lease(metadata: WorkspaceMetadata, settings: LeaseSettings | None = None) -> PgStoreOpening | None:
    """Acquire the lease of the workspace, which :func:`open_state` needs; None if its store is in files.

    Must be called before the workspace is locked. Raises :class:`WorkspaceLockedError` if another engine has the lease,
    :class:`WorkspaceError` if the packages for a database are not installed, and the other errors of
    :func:`~sealyard.engine.state.open_postgres.acquire_postgres_lease`.
    """
    if metadata.database is UNSET:
        return None
    with require_postgres_packages():
        from sealyard.engine.state.open_postgres import acquire_postgres_lease

    return await acquire_postgres_lease(metadata.database, metadata.id, settings)


async def open_state(
    paths: WorkspacePaths, metadata: WorkspaceMetadata, bus: JobBus, lease: PgStoreOpening | None
) -> OpenedState:
    """Open and verify store and audit log. The workspace must be locked.

    ``lease``: the result of :func:`acquire_lease`; it is released if the state cannot be opened. Raises the errors of
    :func:`~sealyard.engine.state.open_store.open_store` or
    :func:`~sealyard.engine.state.open_postgres.open_postgres`, and :class:`AuditVerificationError` if the audit log was
    changed.
    """
    if lease is not None:
        from sealyard.engine.state.open_postgres import open_postgres

        return await open_postgres(lease, metadata.id, bus)
    store, keys = await open_store(paths, metadata, bus)
    try:
        audit = await run_uncancellable(partial(AuditLog.open, paths.audit))
    except BaseException:
        await run_uncancellable(store.close)
        raise
    return OpenedState(store, audit, AuditReader(paths.audit), keys)


def open_reader_state(paths: WorkspacePaths, metadata: WorkspaceMetadata) -> OpenedState:
    """Open store and audit log for reading, without verifying them.

    Raises :class:`WorkspaceError` if the packages for a database are not installed, and the errors of
    :meth:`~sealyard.storage.reader.StoreSource.load`.
    """
    if metadata.database is UNSET:
        return OpenedState(open_store_reader(paths), None, AuditReader(paths.audit), None)
    with require_postgres_packages():
        from sealyard.engine.state.open_postgres import open_postgres_reader

    return open_postgres_reader(metadata.database, metadata.id)


def check_connection_string(connection_string: str) -> None:
    """Raise :class:`UsageError` if the connection string of a database is invalid or contains a password.

    Raises :class:`WorkspaceError` if the packages for a database are not installed.
    """
    with require_postgres_packages():
        from sealyard.storage.postgres.connection import Database

    Database(connection_string)


@contextmanager
def require_postgres_packages() -> Iterator[None]:
    """Raise :class:`WorkspaceError` if an import in the block fails because a package is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise WorkspaceError(
            f"PostgreSQL needs the Python package {error.name}, which is not installed.",
            "Install the extra: pip install 'sealyard[postgres]'.",
        ) from error
