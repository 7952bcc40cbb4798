"""A journal that fails or waits when told to."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import pytest

from sealyard.model.errors import StorageError
from sealyard.storage.journal import Journal


class FailingDisk:
    """Lets the next commits fail, as a full disk would, or wait, as a slow one would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self.failed = 0
        self._going = Event()
        self._going.set()
        append = Journal.append

        def failing(journal: Journal, units: Sequence[bytes]) -> None:
            self._going.wait()
            if self.failures > self.failed:
                self.failed += 1
                raise StorageError("The disk is full.", "Make room.")
            append(journal, units)

        monkeypatch.setattr(Journal, "append", failing)

    def fail(self, times: int = 1) -> None:
        self.failures += times

    @property
    def failed_all(self) -> bool:
        return self.failed == self.failures

    def block(self) -> None:
        self._going.clear()

    def unblock(self) -> None:
        self._going.set()
