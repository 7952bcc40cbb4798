"""Compute the SHA-256 of files. Hashing a large file can be cancelled."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from sealyard.concurrency.threads import CheckCancelled

_CHUNK_BYTES = 4 << 20


def file_sha256(file: BinaryIO, check_cancelled: CheckCancelled | None = None) -> str:
    """Return the SHA-256 (hex) of ``file``, from its current position to its end."""
    hasher = hashlib.sha256()
    hash_into(hasher, file, check_cancelled)
    return hasher.hexdigest()


def path_sha256(path: Path, check_cancelled: CheckCancelled | None = None) -> str:
    """Return the SHA-256 (hex) of the file at ``path``. Raises ``OSError`` if it cannot be read."""
    with path.open("rb", buffering=0) as file:
        return file_sha256(file, check_cancelled)


def hash_into(hasher: hashlib._Hash, file: BinaryIO, check_cancelled: CheckCancelled | None = None) -> None:
    """Update ``hasher`` with the content of ``file``, from its current position to its end."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while length := file.readinto(buffer):  # type: ignore[attr-defined]  # BinaryIO lacks readinto
        hasher.update(buffer[:length])
        if check_cancelled is not None:
            check_cancelled(length)
