"""Watches which server of a cluster holds the lease of the workspace."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from sealyard.concurrency.threads import run_uncancellable
from sealyard.model.cluster import LeaseHolder
from sealyard.model.errors import StorageError
from sealyard.server.cluster.changes import ChangeSignal

POLL_SECONDS = 0.25
"""Interval at which the lease is read. It delays a takeover."""

log = logging.getLogger(__name__)


class LeaseSource(Protocol):
    """Reads the lease from the database; see :class:`sealyard.storage.postgres.lease_reader.LeaseReader`."""

    def read(self) -> LeaseHolder | None: ...
    def close(self) -> None: ...


class LeaseWatch:
    """The lease as it was last read.

    ``holder``: None if it was never read, or the workspace does not exist in the database. ``error``: why it cannot be
    read at the moment.
    """

    def __init__(self, source: LeaseSource, changes: ChangeSignal) -> None:
        """``changes`` is notified after each reading."""
        self.holder: LeaseHolder | None = None
        self.error: StorageError | None = None
        self._source = source
        self._changes = changes
        self._read_at = 0.0
        self._was_read = False

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the lease expires unless it is renewed; negative if it has expired or was never read."""
        if self.holder is None:
            return -1.0
        return self.holder.remaining_seconds - (time.monotonic() - self._read_at)

    @property
    def is_free(self) -> bool:
        """Whether the database confirmed at the last reading that no server holds the lease."""
        if self.error is not None or not self._was_read:
            return False
        return self.holder is None or self.holder.remaining_seconds < 0

    async def run(self) -> None:
        """Read the lease again and again, until the task is cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        """Read the lease. If that fails, set :attr:`error`, and log it unless the previous reading failed too."""
        start = time.monotonic()
        try:
            self.holder = await run_uncancellable(self._source.read)
        except StorageError as error:
            if self.error is None:
                log.warning("cannot read the lease of the workspace: %s", error)
            self.error = error
        else:
            self._read_at = start
            self._was_read = True
            self.error = None
        self._changes.notify()

    def close(self) -> None:
        self._source.close()
