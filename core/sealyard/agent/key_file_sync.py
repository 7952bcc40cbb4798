"""Copies of key files through the bus database; see :mod:`sealyard.agent.key_files`."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from sealyard.agent.key_files import KeyFile, KeyFileRow, KeyFiles
from sealyard.concurrency.threads import run_uncancellable
from sealyard.jobs.zone import statements
from sealyard.jobs.zone.connection import BusConnection
from sealyard.model.safe_text import escape_text

log = logging.getLogger(__name__)


class KeyFileSync:
    """Fetches the key files of other hosts, and publishes those that commands of this host have changed.

    All methods raise :class:`StorageError` if the database cannot be used, or the disk refuses a file.
    """

    def __init__(self, files: KeyFiles, connection: BusConnection, workspace_id: str) -> None:
        self._files = files
        self._connection = connection
        self._workspace_id = workspace_id
        self._lock = asyncio.Lock()
        self._ignored: set[int] = set()

    async def fetch(self) -> None:
        """Write the files that other hosts have published since the last call."""
        async with self._lock:
            known = self._files.numbers
            newest = await self._connection.execute(statements.LIST_KEY_FILES, {"workspace": self._workspace_id})
            numbers = [n for path, n in newest if n > known.get(path, 0) and n not in self._ignored]
            if not numbers:
                return
            parameters = {"workspace": self._workspace_id, "numbers": numbers}
            found = await self._connection.execute(statements.READ_KEY_FILES, parameters)
            rows = [KeyFileRow(*row) for row in found]
            ignored_paths = await run_uncancellable(partial(self._files.write, rows))
            log.info("copied key files of other hosts: %d", len(rows) - len(ignored_paths))
            self._ignore(rows, ignored_paths)

    async def publish(self, host: str) -> None:
        """Insert the files that have changed since the last call. ``host``: the name of this host."""
        async with self._lock:
            changed = await run_uncancellable(self._files.find_changed)
            for file in changed:
                row = await self._insert(file, host)
                await run_uncancellable(partial(self._files.mark_shared, (row,)))
            if changed:
                log.info("published key files to the other hosts: %d", len(changed))

    async def _insert(self, file: KeyFile, host: str) -> KeyFileRow:
        parameters = {"workspace": self._workspace_id, "path": file.path, "content": file.content, "host": host}
        ((number,),) = await self._connection.execute(statements.INSERT_KEY_FILE, parameters)
        return KeyFileRow(number, file.path, file.content)

    def _ignore(self, rows: list[KeyFileRow], paths: tuple[str, ...]) -> None:
        for row in rows:
            if row.path in paths:
                self._ignored.add(row.number)
                log.warning("ignored the file %s in the bus database: it is not a key file", escape_text(row.path, 200))
