"""Fixtures: stores in a temporary folder, and a disk with operations that fail on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.documents import TinyDocumentStore
from tests.support.store_helpers import INDEXES, FailingDisk, OpenStore, open_test_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def open_store(folder: Path) -> Iterator[OpenStore]:
    stores: list[TinyDocumentStore] = []

    def open_at(
        *, write: bool = True, path: Path = folder, recorded: StoreGeneration | None = None
    ) -> TinyDocumentStore:
        store = open_test_store(path, INDEXES, recorded) if write else TinyDocumentStore.open_reader(path, INDEXES)
        stores.append(store)
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    return FailingDisk(monkeypatch)
