"""Tests of the files of imported and exported keys."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sealyard.client.key_files import load_key_content, new_key_file, read_key_file
from sealyard.fs.atomic import write_all
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidInputError, InvalidKeyError, StorageError
from sealyard.model.keys import MAX_KEY_FILE_BYTES
from sealyard.model.requests import KeyImport

SECRET = b"a canary among keys"


def test_key_content_contains_both_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "certificate").write_bytes(b"certificate")
    request = KeyImport(
        uri="local:a", path=str(tmp_path / "key"), kind=KeyType.AES_128, certificate=str(tmp_path / "certificate")
    )
    content = load_key_content(request)
    assert (content.content, content.certificate) == (SECRET, b"certificate")
    assert SECRET.decode() not in repr(content)


def test_key_file_of_maximum_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(bytes(MAX_KEY_FILE_BYTES))
    assert len(read_key_file(path)) == MAX_KEY_FILE_BYTES
    path.write_bytes(bytes(MAX_KEY_FILE_BYTES + 1))
    with pytest.raises(InvalidKeyError, match="larger than any key"):
        read_key_file(path)


def test_missing_key_file_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InvalidInputError, match="Cannot read the file"):
            read_key_file(path)


def test_key_file_must_be_regular(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InvalidInputError, match="is not a regular file"):
            read_key_file(path)


def test_exported_key_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with new_key_file(path) as fd:
        write_all(fd, SECRET)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (SECRET, 0o600)
    with pytest.raises(InvalidInputError, match="Cannot create"), new_key_file(path):
        pass
    assert path.read_bytes() == SECRET


def test_failed_export_removes_the_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Not enough disk space"), new_key_file(tmp_path / "key"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InvalidKeyError), new_key_file(tmp_path / "key"):
        raise InvalidKeyError("No such key.")
    assert not list(tmp_path.iterdir())
