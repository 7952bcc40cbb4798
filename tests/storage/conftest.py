"""Fixtures: stores in a temporary folder, and a disk with operations that fail on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.storage.documents import TinyDocumentStore
from tests.support.store_helpers import INDEXES, FailingDisk, OpenStore, open_test_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def open_store(folder: Path) -> Iterator[OpenStore]:
    stores: list[TinyDocumentStore] = []

    def open_at(*, write: bool = True, path: Path = folder) -> TinyDocumentStore:
        stores.append(open_test_store(path, INDEXES) if write else TinyDocumentStore.open_reader(path, INDEXES))
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    return FailingDisk(monkeypatch)
