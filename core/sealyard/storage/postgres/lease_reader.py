"""Read which engine holds the lease of a workspace."""

from __future__ import annotations

import psycopg

from sealyard.model.cluster import LeaseHolder
from sealyard.storage.postgres import statements
from sealyard.storage.postgres.connection import Connection, Database, storage_error

CONNECT_SECONDS = 3
"""Timeout for connections of servers that watch a lease."""


class LeaseReader:
    """Reads the lease of a workspace, with a connection of its own. Not thread-safe."""

    def __init__(self, connection_string: str, workspace_id: str) -> None:
        """Check the connection string; :meth:`read` connects. Raises :class:`UsageError` if it is invalid."""
        self._database = Database(connection_string, connect_seconds=CONNECT_SECONDS)
        self._workspace_id = workspace_id
        self._connection: Connection | None = None

    def read(self) -> LeaseHolder | None:
        """Return the lease, None if the workspace does not exist.

        Raises :class:`StorageError` if the database cannot be reached; a later call connects again.
        """
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._database.connect()
            row = self._connection.execute(statements.READ_LEASE, {"workspace": self._workspace_id}).fetchone()
        except psycopg.Error as error:
            self.close()
            raise storage_error(error, "reading the lease") from None
        if row is None:
            return None
        _, term, holder, url, remaining_seconds = row
        return LeaseHolder(term=term, name=holder, url=url, remaining_seconds=remaining_seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
