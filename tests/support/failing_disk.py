"""A journal whose commits fail or block on request."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import pytest

from sealyard.model.errors import StorageError
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.journal import FileJournal


class FailingDisk:
    """Makes the next commits fail like on a full disk, or block like on a slow one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self.failed = 0
        self._unblocked = Event()
        self._unblocked.set()
        append = FileJournal.append

        def append_or_fail(journal: FileJournal, batches: Sequence[EncodedBatch]) -> None:
            self._unblocked.wait()
            if self.failures > self.failed:
                self.failed += 1
                raise StorageError("The disk is full.", "Make room.")
            append(journal, batches)

        monkeypatch.setattr(FileJournal, "append", append_or_fail)

    def fail(self, times: int = 1) -> None:
        self.failures += times

    @property
    def failed_all(self) -> bool:
        return self.failed == self.failures

    def block(self) -> None:
        self._unblocked.clear()

    def unblock(self) -> None:
        self._unblocked.set()
