"""Tests of private files and folders: modes and error handling."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sealyard.fs import atomic
from sealyard.fs.private import KEY_BYTES, create_random_key, make_private_dir, open_private_append
from sealyard.model.errors import StorageError


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "write_all", fail)


def test_private_dir_restricts_missing_parents_too(tmp_path: Path) -> None:
    make_private_dir(tmp_path / "outer" / "inner")
    make_private_dir(tmp_path / "outer" / "inner")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")} == {0o700}


def test_private_append_keeps_existing_content(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for line in (b"one\n", b"two\n"):
        fd = open_private_append(path)
        os.write(fd, line)
        os.close(fd)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one\ntwo\n", 0o600)


def test_random_key_replaces_a_truncated_one(tmp_path: Path) -> None:
    path = tmp_path / "links"
    path.write_bytes(b"short")
    create_random_key(path, "the key of links")
    first = path.read_bytes()
    create_random_key(path, "the key of links")
    assert len(first) == len(path.read_bytes()) == KEY_BYTES
    assert first != path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("full_disk")
def test_failed_key_creation_keeps_the_old_key(tmp_path: Path) -> None:
    path = tmp_path / "links"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match="the key of links"):
        create_random_key(path, "the key of links")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("links", b"old")]
