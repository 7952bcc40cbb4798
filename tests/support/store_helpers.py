"""What the tests of storage share: a disk that refuses, and looks at what a store holds."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealyard.fs import atomic
from sealyard.storage.documents import TinyDocumentStore

INDEXES = {"tasks": ("status", "configId", "createdBy", "kind")}

OPERATIONS = ("open_empty_file", "write_all", "sync", "truncate", "rename", "sync_folder", "remove_quietly")

Open = Callable[..., TinyDocumentStore]


class FailingDisk:
    """Counts what is done to the disk and fails when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.error: Callable[[], Exception] = no_space
        self._failing: Callable[[str, int], bool] = lambda _name, _count: False
        for name in OPERATIONS:
            monkeypatch.setattr(atomic, name, self._wrapped(name, getattr(atomic, name)))

    def fail(self, *names: str, times: int = 1) -> None:
        """The next ``times`` operations of these names fail."""
        left = [times]

        def failing(name: str, _count: int) -> bool:
            if name not in names or not left[0]:
                return False
            left[0] -= 1
            return True

        self._failing = failing

    def fail_from(self, step: int, *, times: int | None = None) -> None:
        """From the ``step``-th operation after now on (for ``times``, or for good) all fail."""
        first = len(self.done) + step
        self._failing = lambda _name, count: first <= count and (times is None or count < first + times)

    def recover(self) -> None:
        self._failing = lambda _name, _count: False

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            self.done.append(name)
            if not self._failing(name, len(self.done)):
                return real(*arguments)
            if name == "write_all":  # a full disk takes a part of it
                fd, data = arguments
                real(fd, data[: len(data) // 2])
            raise self.error()

        return operation


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in the folder, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def documents(store: TinyDocumentStore) -> dict[str, dict[str, dict[str, Any]]]:
    return {table: dict(store.all(table)) for table in store.tables if store.count(table)}
