"""Reads the lease of a workspace whose store is in a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from sealyard.client.config.workspaces import load_workspace_metadata
from sealyard.engine.state.open_state import require_postgres_packages
from sealyard.model.errors import WorkspaceError

if TYPE_CHECKING:
    from sealyard.storage.postgres.lease_reader import LeaseReader


def open_lease_reader(folder: Path) -> LeaseReader:
    """Return a reader of the lease of the workspace in ``folder``.

    Raises :class:`WorkspaceError` if the store of the workspace is not in a database or the packages for a database are
    not installed, and :class:`UsageError` if the connection string is invalid.
    """
    metadata = load_workspace_metadata(folder)
    if metadata.database is UNSET:
        raise WorkspaceError("The store of the workspace is not in a database.", "Use a workspace with a database.")
    with require_postgres_packages():
        from sealyard.storage.postgres.lease_reader import LeaseReader

    return LeaseReader(metadata.database, metadata.id)
