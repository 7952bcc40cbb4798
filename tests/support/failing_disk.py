"""A journal whose commits fail or block on request: in files, and in PostgreSQL if its packages are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

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
        for journal_class in _list_journal_classes():
            monkeypatch.setattr(journal_class, "append", self._wrap(journal_class.append))

    def _wrap(self, append: Callable[[Any, Sequence[EncodedBatch]], None]) -> Callable[..., None]:
        def append_or_fail(journal: Any, batches: Sequence[EncodedBatch]) -> None:
            self._unblocked.wait()
            if self.failures > self.failed:
                self.failed += 1
                raise StorageError("The disk is full.", "Make room.")
            append(journal, batches)

        return append_or_fail

    def fail(self, times: int = 1) -> None:
        self.failures += times

    @property
    def failed_all(self) -> bool:
        return self.failed == self.failures

    def block(self) -> None:
        self._unblocked.clear()

    def unblock(self) -> None:
        self._unblocked.set()


def _list_journal_classes() -> list[Any]:
    if importlib.util.find_spec("psycopg") is None:
        return [FileJournal]
    from sealyard.storage.postgres.journal import PgJournal

    return [FileJournal, PgJournal]
