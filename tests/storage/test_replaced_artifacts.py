"""Tests of stored inputs and results that were replaced by other content or links: they are never used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sealyard.model.errors import IntegrityError
from sealyard.storage.artifacts import FileArtifacts, ResultId
from tests.support.store_helpers import publish_result

CONTENT = b"firmware" * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TASK = "t1"

Damage = Callable[[Path, Path], None]


@pytest.fixture
def store(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


def swap(path: Path, _outside: Path) -> None:
    path.write_bytes(CONTENT.swapcase())


def link_symbolically(path: Path, outside: Path) -> None:
    path.rename(outside)
    path.symlink_to(outside)


def link_hard(path: Path, outside: Path) -> None:
    outside.hardlink_to(path)


def leave_dangling_link(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside)


DAMAGES = [swap, link_symbolically, link_hard, leave_dangling_link]


@pytest.mark.parametrize("damage", DAMAGES)
def test_ingest_of_damaged_content_replaces_it(tmp_path: Path, store: FileArtifacts, damage: Damage) -> None:
    store.ingest_bytes(CONTENT)
    path, outside = store.input_path(SHA256), tmp_path / "outside"
    damage(path, outside)
    before = outside.read_bytes() if outside.exists() else None
    assert store.ingest_bytes(CONTENT).sha256 == SHA256
    assert not path.is_symlink()
    assert path.stat().st_nlink == 1
    assert path.read_bytes() == CONTENT
    assert (outside.read_bytes() if outside.exists() else None) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_move_in_replaces_damaged_content(tmp_path: Path, store: FileArtifacts, damage: Damage) -> None:
    store.ingest_bytes(CONTENT)
    path = store.input_path(SHA256)
    damage(path, tmp_path / "outside")
    upload = tmp_path / "artifacts" / "upload"
    upload.write_bytes(CONTENT)
    store.move_in(upload, SHA256)
    assert not path.is_symlink()
    assert path.read_bytes() == CONTENT
    assert not upload.exists()


@pytest.mark.parametrize("damage", [link_symbolically, link_hard, leave_dangling_link])
def test_open_input_behind_link_raises(tmp_path: Path, store: FileArtifacts, damage: Damage) -> None:
    store.ingest_bytes(CONTENT)
    damage(store.input_path(SHA256), tmp_path / "outside")
    with pytest.raises(IntegrityError, match="link"):
        store.open_input(SHA256)


@pytest.mark.parametrize("damage", [link_symbolically, link_hard, leave_dangling_link])
def test_open_result_behind_link_raises(tmp_path: Path, store: FileArtifacts, damage: Damage) -> None:
    publish(store)
    damage(store.result_path(TASK), tmp_path / "outside")
    with pytest.raises(IntegrityError, match="link"):
        store.open_result(ResultId(TASK, 1))


@pytest.mark.parametrize("damage", [link_symbolically, link_hard])
def test_publish_result_behind_link_raises(tmp_path: Path, store: FileArtifacts, damage: Damage) -> None:
    work = store.work_dir(TASK) / "container"
    work.write_bytes(CONTENT)
    damage(work, tmp_path / "outside")
    with pytest.raises(IntegrityError, match="link"):
        publish_result(store, TASK, work)
    assert not store.has_result(TASK)


def test_open_input_of_another_user_raises(store: FileArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    store.ingest_bytes(CONTENT)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(IntegrityError, match="another user"):
        store.open_input(SHA256)


def test_open_input_replaced_by_fifo_raises(store: FileArtifacts) -> None:
    store.ingest_bytes(CONTENT)
    path = store.input_path(SHA256)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match="not a regular file"):
        store.open_input(SHA256)


def test_delete_work_keeps_target_of_symlink(tmp_path: Path, store: FileArtifacts) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    folder = store.work_dir(TASK)
    folder.rmdir()
    folder.symlink_to(outside)
    store.delete_work(TASK)
    assert store.tasks_with_work_dir() == ()
    assert (outside / "kept").exists()


def publish(store: FileArtifacts) -> None:
    work = store.work_dir(TASK) / "container"
    work.write_bytes(CONTENT)
    publish_result(store, TASK, work)
