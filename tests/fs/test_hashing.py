"""Tests of SHA-256 digests of files."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from sealyard.fs import hashing
from sealyard.fs.hashing import file_sha256, hash_into, path_sha256

DATA = bytes(range(256)) * 5


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_CHUNK_BYTES", 100)


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, len(DATA)])
def test_digest_of_file_matches_hashlib(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA[:length])
    assert path_sha256(path) == hashlib.sha256(DATA[:length]).hexdigest()


def test_digest_starts_at_the_current_position() -> None:
    file = io.BytesIO(DATA)
    file.seek(200)
    assert file_sha256(file) == hashlib.sha256(DATA[200:]).hexdigest()


def test_hash_into_continues_a_digest() -> None:
    digest = hashlib.sha256(b"header")
    hash_into(digest, io.BytesIO(DATA))
    assert digest.hexdigest() == hashlib.sha256(b"header" + DATA).hexdigest()


def test_calculation_can_be_cancelled_after_each_chunk() -> None:
    chunks: list[int] = []

    def cancel_after_two(length: int) -> None:
        chunks.append(length)
        if len(chunks) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        file_sha256(io.BytesIO(DATA), cancel_after_two)
    assert chunks == [100, 100]


def test_missing_file_raises_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        path_sha256(tmp_path / "missing")
