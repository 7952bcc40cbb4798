"""Shared helpers of the storage tests: a failing disk, and the documents of a store."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealyard.fs import atomic
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.artifacts import ArtifactStore, ResultId
from sealyard.storage.documents import Indexes, TinyDocumentStore
from sealyard.storage.frame_chain import FrameChain, StoreCredentials
from sealyard.storage.opening import StoreOpening

INDEXES = {"tasks": ("status", "configId", "createdBy", "kind")}

OPERATIONS = ("open_empty_file", "write_all", "sync", "truncate", "rename", "sync_folder", "remove_quietly")

OpenStore = Callable[..., TinyDocumentStore]

CREDENTIALS = StoreCredentials(bytes(range(32)), "w1")


def begin_chain() -> FrameChain:
    return FrameChain.begin(CREDENTIALS, 1, "")


def open_test_store(
    folder: Path, indexes: Indexes | None = None, recorded: StoreGeneration | None = None
) -> TinyDocumentStore:
    """Open a store for writing with the credentials of the tests."""
    return TinyDocumentStore.open(StoreOpening.start(folder), indexes or {}, CREDENTIALS, recorded)


class FailingDisk:
    """Records the disk operations, and makes chosen operations fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.operations: list[str] = []
        self.error: Callable[[], Exception] = make_no_space_error
        self._is_failing: Callable[[str, int], bool] = lambda _name, _count: False
        for name in OPERATIONS:
            monkeypatch.setattr(atomic, name, self._wrap(name, getattr(atomic, name)))

    def fail(self, *names: str, times: int = 1) -> None:
        """Make the next ``times`` operations with one of these names fail."""
        remaining = times

        def is_failing(name: str, _count: int) -> bool:
            nonlocal remaining
            if name not in names or not remaining:
                return False
            remaining -= 1
            return True

        self._is_failing = is_failing

    def fail_from(self, step: int, *, times: int | None = None) -> None:
        """Make all operations fail from the ``step``-th one on, counted from now, or only ``times`` of them."""
        first = len(self.operations) + step
        self._is_failing = lambda _name, count: first <= count and (times is None or count < first + times)

    def recover(self) -> None:
        self._is_failing = lambda _name, _count: False

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            self.operations.append(name)
            if not self._is_failing(name, len(self.operations)):
                return real(*arguments)
            if name == "write_all":  # a full disk stores a part of the data
                fd, data = arguments
                real(fd, data[: len(data) // 2])
            raise self.error()

        return operation


def make_no_space_error() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in the folder, by its name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_documents(store: TinyDocumentStore) -> dict[str, dict[str, dict[str, Any]]]:
    return {table: dict(store.all(table)) for table in store.tables if store.count(table)}


def publish_result(store: ArtifactStore, task_id: str, work_file: Path) -> None:
    """Publish a file as the result of the first attempt of a task."""
    sha256 = hashlib.sha256(work_file.read_bytes()).hexdigest() if work_file.exists() else "0" * 64
    store.publish_result(ResultId(task_id, 1), work_file, sha256, lambda _: None)
