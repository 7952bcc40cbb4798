"""The inputs of the running jobs in the folder of workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial
from weakref import WeakValueDictionary

from sealyard.agent.artifact_transfer import ArtifactTransfer, RenewInput
from sealyard.concurrency.threads import run_uncancellable
from sealyard.model.errors import NotFoundError
from sealyard.model.grants import InputGrant
from sealyard.storage.artifacts import FileArtifacts


class InputCache:
    """Downloads the inputs of jobs, and deletes those that no job needs any more.

    The content of an input that is present is not verified again: workers verify what they read.
    """

    def __init__(self, artifacts: FileArtifacts, transfer: ArtifactTransfer) -> None:
        self._artifacts = artifacts
        self._transfer = transfer
        self._users: Counter[str] = Counter()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def check_free_space(self, grants: Iterable[InputGrant]) -> None:
        """Raise :class:`DiskFullError` if the disk has no space for the missing inputs and for a result."""
        grants = tuple(grants)
        missing_bytes = sum(grant.size for grant in grants if not self._has(grant))
        self._transfer.check_free_space(missing_bytes + sum(grant.size for grant in grants))

    def acquire(self, sha256s: Iterable[str]) -> None:
        """Keep the inputs, which can be missing still, until :meth:`release`."""
        self._users.update(sha256s)

    async def fetch(self, grant: InputGrant, renew: RenewInput) -> None:
        """Download the input unless it is present. Another job that needs it waits for the download.

        Raises the errors of :meth:`ArtifactTransfer.download`.
        """
        async with self._lock(grant.sha256):
            if not await asyncio.to_thread(self._has, grant):
                await self._transfer.download(grant, renew)

    async def release(self, sha256s: Iterable[str]) -> None:
        """Delete the inputs that no other job needs. Raises :class:`StorageError` if the disk refuses it."""
        for sha256 in sha256s:
            self._users[sha256] -= 1
            async with self._lock(sha256):
                if self._users[sha256] <= 0:
                    del self._users[sha256]
                    await run_uncancellable(partial(self._artifacts.delete_input, sha256))

    async def delete_all(self) -> None:
        """Delete what a previous agent has left: inputs, work folders and partial downloads."""
        await run_uncancellable(self._delete_all)

    def _lock(self, sha256: str) -> asyncio.Lock:
        return self._locks.setdefault(sha256, asyncio.Lock())

    def _delete_all(self) -> None:
        self._artifacts.delete_temporary()
        for task_id in self._artifacts.tasks_with_work_dir():
            self._artifacts.delete_work(task_id)
        for sha256 in tuple(self._artifacts.stored_inputs()):
            self._artifacts.delete_input(sha256)

    def _has(self, grant: InputGrant) -> bool:
        try:
            return self._artifacts.input_size(grant.sha256) == grant.size
        except (NotFoundError, FileNotFoundError):
            return False
