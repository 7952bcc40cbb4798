"""The lease that one engine holds on a workspace.

Safety comes from the term in each commit; the lease only decides when another engine may take over. It is measured by
the clock of the database alone. An expired lease can be renewed if no other engine has acquired it, and does not
prevent commits.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any

import psycopg

from sealyard.model.errors import FencedError, StorageError, WorkspaceError, WorkspaceLockedError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.storage.postgres import statements
from sealyard.storage.postgres.connection import Connection, Database

LEASE_SECONDS = 8.0

MOVING, MOVED_AWAY = "an unfinished move", "moved to its folder"
"""Holders of a workspace that is reserved: it is copied to the database, or was moved from there."""

POLL_SECONDS = 0.25
"""Interval at which an engine that wants the lease checks whether it has expired."""

log = logging.getLogger(__name__)


def build_lease_parameters(workspace_id: str) -> dict[str, Any]:
    """Return the parameters of a lease of this process that begins now."""
    return {
        "workspace": workspace_id,
        "holder": f"{socket.gethostname()}:{os.getpid()}",
        "seconds": LEASE_SECONDS,
    }


def acquire_lease(connection: Connection, workspace_id: str, known_format: int) -> tuple[Any, ...] | None:
    """Acquire the lease, and return the new term and the head; None if the workspace does not exist.

    Waits until the lease expires, unless its holder renews it. Raises :class:`WorkspaceLockedError` if it does, and
    :class:`WorkspaceError` if the documents have a newer format than ``known_format``.
    """
    parameters = {**build_lease_parameters(workspace_id), "format": known_format}
    shortest_time = None
    while (row := connection.execute(statements.ACQUIRE_LEASE, parameters).fetchone()) is None:
        lease = connection.execute(statements.READ_LEASE, {"workspace": workspace_id}).fetchone()
        if lease is None:
            return None
        document_format, holder, remaining_time = lease
        if document_format > known_format:
            raise WorkspaceError(
                f"The documents in the database have format {document_format}; this version supports formats up to"
                f" {known_format}.",
                "Use the version of Sealyard that wrote it, or a newer one.",
            )
        if remaining_time == math.inf:
            raise _reserved_error(holder)
        if remaining_time > LEASE_SECONDS or (shortest_time is not None and remaining_time > shortest_time):
            raise WorkspaceLockedError(
                f"Another engine has the workspace open: {escape_text(holder, 100)}.",
                "Use the server that has it open, or stop it.",
            )
        shortest_time = remaining_time
        time.sleep(POLL_SECONDS)
    return row


class LeaseKeeper:
    """Renews a lease in a thread of its own, and releases it at the end."""

    def __init__(self, database: Database, workspace_id: str, term: int) -> None:
        """Start the thread."""
        self.error: FencedError | None = None
        """Why the lease was lost: another engine has acquired it. None if it was not."""
        self._on_lost: Callable[[FencedError], object] = _ignore
        self._lock = Lock()
        self._database = database
        self._parameters = {"workspace": workspace_id, "term": term, "seconds": LEASE_SECONDS}
        self._stopped = Event()
        self._connection: Connection | None = None
        self._thread = Thread(target=self._run, name="sealyard-lease", daemon=True)
        self._thread.start()

    def on_lost(self, callback: Callable[[FencedError], object]) -> None:
        """Call ``callback`` once, in any thread, if the lease was or will be lost."""
        with self._lock:
            self._on_lost = callback
            error = self.error
        if error is not None:
            callback(error)

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
                self._report_loss()
                return

    def _report_loss(self) -> None:
        with self._lock:
            error = self.error = taken_over_error()
            callback = self._on_lost
        callback(error)

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        return self._connection


def _ignore(_: FencedError) -> None:
    """Do nothing: no callback is registered yet."""


def _reserved_error(holder: str) -> WorkspaceLockedError:
    if holder == MOVED_AWAY:
        return WorkspaceLockedError(
            "The workspace was moved from the database to its folder.", "Use the folder to which it was moved."
        )
    if holder == MOVING:
        return WorkspaceLockedError(
            "The move of the workspace to the database is unfinished.", Hint.of(HintCode.FINISH_MOVE)
        )
    return WorkspaceLockedError(
        f"The workspace is reserved in the database: {escape_text(holder, 100)}.",
        "Ask the administrator who has set lease_until to infinity.",
    )


def taken_over_error() -> FencedError:
    return FencedError(
        "Another engine has taken over the workspace. This one writes nothing more.",
        "Use the server that has taken over, or restart this one.",
    )
