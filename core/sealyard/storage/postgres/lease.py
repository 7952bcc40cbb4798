"""The lease that one engine holds on a workspace.

Safety comes from the term in each commit; the lease only decides when another engine may take over. It is measured by
the clock of the database alone. An expired lease can be renewed if no other engine has acquired it, and does not
prevent commits.

One of several servers also stops by its own clock before its lease can have expired, so that it answers no request
after another one may have taken over.
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

from sealyard.model.cluster import DEFAULT_LEASE_SECONDS, HeldLease, LeaseSettings
from sealyard.model.errors import FencedError, StorageError, WorkspaceError, WorkspaceLockedError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.storage.postgres import statements
from sealyard.storage.postgres.connection import Connection, Database, interrupt

LEASE_SECONDS = DEFAULT_LEASE_SECONDS

MOVING, MOVED_AWAY = "an unfinished move", "moved to its folder"
"""Holders of a workspace that is reserved: it is copied to the database, or was moved from there."""

POLL_SECONDS = 0.25
"""Interval at which an engine that wants the lease checks whether it has expired."""

LAPSE_MARGIN_SECONDS = 1.0
"""How long before its lease can expire one of several servers stops."""

log = logging.getLogger(__name__)


def build_lease_parameters(workspace_id: str, settings: LeaseSettings | None) -> dict[str, Any]:
    """Return the parameters of a lease of this process that begins now."""
    return {
        "workspace": workspace_id,
        "holder": f"{socket.gethostname()}:{os.getpid()}",
        "holder_url": settings.url if settings is not None else "",
        "seconds": settings.seconds if settings is not None else LEASE_SECONDS,
    }


def acquire_lease(
    connection: Connection, workspace_id: str, known_format: int, settings: LeaseSettings | None
) -> tuple[Any, ...] | None:
    """Acquire the lease, and return the new term and the head; None if the workspace does not exist.

    Without ``settings``, waits until the lease expires, unless its holder renews it. Raises
    :class:`WorkspaceLockedError` if another engine holds it, and :class:`WorkspaceError` if the documents have a newer
    format than ``known_format``.
    """
    parameters = {**build_lease_parameters(workspace_id, settings), "known_format": known_format}
    shortest_time = 0.0 if settings is not None else LEASE_SECONDS
    while (row := connection.execute(statements.ACQUIRE_LEASE, parameters).fetchone()) is None:
        lease = connection.execute(statements.READ_LEASE, {"workspace": workspace_id}).fetchone()
        if lease is None:
            return None
        document_format, _, holder, _, remaining_time = lease
        if document_format > known_format:
            raise WorkspaceError(
                f"The documents in the database have format {document_format}; this version supports formats up to"
                f" {known_format}.",
                "Use the version of Sealyard that wrote it, or a newer one.",
            )
        if remaining_time == math.inf:
            raise _reserved_error(holder)
        if remaining_time > shortest_time:
            raise WorkspaceLockedError(
                f"Another engine has the workspace open: {escape_text(holder, 100)}.",
                "Use the server that has it open, or stop it.",
            )
        shortest_time = remaining_time
        time.sleep(POLL_SECONDS)
    return row


class LeaseKeeper:
    """Renews a lease in a thread of its own, and releases it at the end."""

    def __init__(
        self,
        database: Database,
        workspace_id: str,
        term: int,
        settings: LeaseSettings | None = None,
        acquired_at: float | None = None,
    ) -> None:
        """Start the thread.

        With ``settings``, the lease lapses by the clock of this machine. ``acquired_at``: when its acquisition began,
        by :func:`read_clock`; by default now.
        """
        self.error: FencedError | None = None
        """Why the lease was lost: another engine has acquired it, or it has lapsed. None if it was not."""
        self.term = term
        self._callbacks: list[Callable[[FencedError], object]] = []
        self._interruptible_connection: Connection | None = None
        self._lock = Lock()
        self._database = database
        self._seconds = settings.seconds if settings is not None else LEASE_SECONDS
        self._parameters = {"workspace": workspace_id, "term": term, "seconds": self._seconds}
        self._stopped = Event()
        self._connection: Connection | None = None
        self._renewed_at = acquired_at if acquired_at is not None else read_clock()
        self._thread = Thread(target=self._run, name="sealyard-lease", daemon=True)
        self._thread.start()
        self._lapse_thread: Thread | None = None
        if settings is not None:
            self._lapse_thread = Thread(target=self._watch_clock, name="sealyard-lease-clock", daemon=True)
            self._lapse_thread.start()

    @property
    def held(self) -> HeldLease:
        """The lease at this moment."""
        if self._lapse_thread is None:
            return HeldLease(term=self.term, remaining_seconds=None)
        return HeldLease(term=self.term, remaining_seconds=0.0 if self.error is not None else self._remaining_seconds())

    def on_lost(self, callback: Callable[[FencedError], object]) -> None:
        """Call ``callback`` once, in any thread, if the lease was or will be lost."""
        with self._lock:
            error = self.error
            if error is None:
                self._callbacks.append(callback)
                return
        callback(error)

    def interrupt_when_lost(self, connection: Connection) -> None:
        """Make calls on ``connection`` fail as soon as the lease is lost, even if the database does not respond.

        Replaces the connection of an earlier call.
        """
        with self._lock:
            self._interruptible_connection = connection
            is_lost = self.error is not None
        if is_lost:
            interrupt(connection)

    def close(self) -> None:
        """Stop the thread, and release the lease unless it was lost or the database cannot be reached."""
        self._stopped.set()
        self._thread.join()
        if self._lapse_thread is not None:
            self._lapse_thread.join()
        if self.error is None:
            with suppress(psycopg.Error, StorageError):
                self._connect().execute(statements.RELEASE_LEASE, self._parameters)
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        is_failing = False
        while not self._stopped.wait(self._seconds / 4):
            if self.error is not None:
                return
            began_at = read_clock()
            try:
                cursor = self._connect().execute(statements.RENEW_LEASE, self._parameters)
            except (psycopg.Error, StorageError) as error:
                if not is_failing:
                    log.warning("could not renew the lease of the workspace: %s", type(error).__name__)
                is_failing = True
                continue
            is_failing = False
            if cursor.rowcount == 0:
                self._report_loss(taken_over_error())
                return
            self._renewed_at = began_at

    def _watch_clock(self) -> None:
        """Report the loss of the lease before it can have expired, even while a renewal is blocked."""
        while (remaining_seconds := self._remaining_seconds()) > 0:
            if self._stopped.wait(min(remaining_seconds, 1.0)):
                return
        self._report_loss(lapsed_error())

    def _remaining_seconds(self) -> float:
        return self._renewed_at + self._seconds - LAPSE_MARGIN_SECONDS - read_clock()

    def _report_loss(self, error: FencedError) -> None:
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            callbacks, self._callbacks = self._callbacks, []
            connections = (self._interruptible_connection, self._connection)
        for connection in connections:
            if connection is not None:
                interrupt(connection)
        for callback in callbacks:
            callback(error)

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        return self._connection


def read_clock() -> float:
    """Return the time of a clock, in seconds, that also advances while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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


def lapsed_error() -> FencedError:
    return FencedError(
        "The database could not be reached, so the lease of the workspace has lapsed. This engine writes nothing more.",
        "Check the database. The server continues as soon as it can be reached.",
    )
