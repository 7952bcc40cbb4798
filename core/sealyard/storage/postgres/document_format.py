"""The format of the documents of a workspace, which the column ``format`` states.

A version knows the formats up to :data:`KNOWN_FORMAT`. It writes the format of the workspace, which the operator raises
once all servers know the next one. Documents are not converted: each version reads those of the formats before.
"""

from __future__ import annotations

import psycopg

from sealyard.model.errors import WorkspaceLockedError
from sealyard.model.safe_text import escape_text
from sealyard.storage.postgres.connection import Database, storage_error

KNOWN_FORMAT = 1
"""The newest format that this version knows. New workspaces have it."""

_LOCK_OLDER = """
SELECT id, holder, holder_format, lease_until >= clock_timestamp() AND lease_until < 'infinity' FROM sealyard.workspace
WHERE format < %(format)s ORDER BY id FOR UPDATE
"""

"""A lease that does not expire is a reservation, not that of an engine."""

_RAISE = "UPDATE sealyard.workspace SET format = %(format)s WHERE id = ANY(%(workspaces)s)"


def raise_format(database: Database, document_format: int = KNOWN_FORMAT) -> list[str]:
    """Raise the format of all workspaces to ``document_format``, as the owner of the tables.

    Returns the ids of those that had an older one. Their engines write the new format after their next start.

    Raises :class:`WorkspaceLockedError` if an engine that does not know the format has a workspace open; then none is
    changed. Raises :class:`StorageError` if the database refuses the change or cannot be reached.
    """
    connection = database.connect(autocommit=False)
    try:
        with connection.transaction():
            # The lock makes an engine that acquires a lease at the same time read the new format.
            rows = connection.execute(_LOCK_OLDER, {"format": document_format}).fetchall()
            for identity, holder, holder_format, is_held in rows:
                if is_held and holder_format < document_format:
                    raise _older_engine_error(identity, holder, holder_format)
            workspaces = [str(row[0]) for row in rows]
            connection.execute(_RAISE, {"format": document_format, "workspaces": workspaces})
    except psycopg.Error as error:
        raise storage_error(error, "raising the format of the documents") from None
    finally:
        connection.close()
    return workspaces


def _older_engine_error(workspace_id: str, holder: str, holder_format: int) -> WorkspaceLockedError:
    return WorkspaceLockedError(
        f"An engine of an older version has the workspace {escape_text(workspace_id, 100)} open:"
        f" {escape_text(holder, 100)}, which knows formats up to {holder_format}. No format was raised.",
        "Upgrade all servers first, then try again.",
    )
