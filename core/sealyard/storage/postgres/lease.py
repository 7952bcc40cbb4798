"""The lease that one engine holds on a workspace.

Safety comes from the term in each commit; the lease only decides when another engine may take over. It is measured by
the clock of the database alone. An expired lease can be renewed if no other engine has acquired it, and does not
prevent commits.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from threading import Event, Thread

import psycopg

from sealyard.model.errors import FencedError, StorageError
from sealyard.storage.postgres import statements
from sealyard.storage.postgres.connection import Connection, Database

LEASE_SECONDS = 8.0

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews a lease in a thread of its own, and releases it at the end."""

    def __init__(self, database: Database, workspace_id: str, term: int) -> None:
        """Start the thread."""
        self.error: FencedError | None = None
        """Why the lease was lost: another engine has acquired it. None if it was not."""
        self._database = database
        self._parameters = {"workspace": workspace_id, "term": term, "seconds": LEASE_SECONDS}
        self._stopped = Event()
        self._connection: Connection | None = None
        self._thread = Thread(target=self._run, name="sealyard-lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and release the lease unless it was lost or the database cannot be reached."""
        self._stopped.set()
        self._thread.join()
        with suppress(psycopg.Error, StorageError):
            self._connect().execute(statements.RELEASE_LEASE, self._parameters)
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        is_failing = False
        while not self._stopped.wait(LEASE_SECONDS / 4):
            try:
                cursor = self._connect().execute(statements.RENEW_LEASE, self._parameters)
            except (psycopg.Error, StorageError) as error:
                if not is_failing:
                    log.warning("could not renew the lease of the workspace: %s", type(error).__name__)
                is_failing = True
                continue
            is_failing = False
            if cursor.rowcount == 0:
                self.error = taken_over_error()
                return

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        return self._connection


def taken_over_error() -> FencedError:
    return FencedError(
        "Another engine has taken over the workspace. This one writes nothing more.",
        "Use the server that has taken over, or restart this one.",
    )
