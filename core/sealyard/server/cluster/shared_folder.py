"""Checks that the servers of a cluster share the workspace folder."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.cluster import LeaseHolder

INTERVAL_SECONDS = 1.0
"""Interval between two checks."""

TOLERANCE_SECONDS = 5.0
"""Time for which folder and database may differ, because a server acquires the lease before it locks the folder."""

log = logging.getLogger(__name__)


class SharedFolderCheck:
    """Compares the lock holder of the folder with the holder of the lease, while another server answers requests.

    A server that does not answer may have been killed; its lock is then released before its lease expires.

    ``error``: why this server must not take over; empty if the folder is shared, or could not be checked yet.
    """

    def __init__(self, lock_path: Path) -> None:
        self.error = ""
        self._lock_path = lock_path
        self._checked_at = -INTERVAL_SECONDS
        self._differs_since: float | None = None
        self._verified_term: int | None = None

    def reset(self) -> None:
        """Start again: no server answers, so that there is nothing to compare."""
        self._differs_since = None

    async def check(self, lease: LeaseHolder) -> None:
        """Check the folder, unless that was done for this term or within :data:`INTERVAL_SECONDS`.

        ``lease``: of a server that answers requests.
        """
        now = time.monotonic()
        if lease.term == self._verified_term or now < self._checked_at + INTERVAL_SECONDS:
            return
        self._checked_at = now
        holder = await asyncio.to_thread(WorkspaceLock.holder, self._lock_path)
        if holder is not None and f"{holder.host}:{holder.pid}" == lease.name:
            self._accept(lease.term)
            return
        self._differs_since = now if self._differs_since is None else self._differs_since
        if now >= self._differs_since + TOLERANCE_SECONDS and not self.error:
            self.error = (
                f"the active server {lease.name} does not hold the lock of this server's workspace folder, so that it"
                " must have another folder"
            )
            log.error("this server will not take over: %s", self.error)

    def _accept(self, term: int) -> None:
        if self.error:
            log.info("the workspace folder is shared with the active server")
        self._verified_term, self._differs_since, self.error = term, None, ""
