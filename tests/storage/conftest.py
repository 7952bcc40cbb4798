"""Stores in a temporary folder, and a disk that refuses when told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.storage.documents import TinyDocumentStore
from tests.support.store_helpers import INDEXES, FailingDisk, Open


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def open_store(folder: Path) -> Iterator[Open]:
    opened: list[TinyDocumentStore] = []

    def open_one(*, write: bool = True, at: Path = folder) -> TinyDocumentStore:
        opened.append(TinyDocumentStore.open(at, INDEXES, write=write))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    return FailingDisk(monkeypatch)
