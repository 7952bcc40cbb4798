"""Atomic writes of key files that only their owner can access."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sealyard.model.errors import StorageError


def make_private_dir(folder: Path) -> None:
    """Create ``folder`` and its missing parents with mode 0700, and sync them to disk.

    Raises :class:`StorageError` if that fails.
    """
    try:
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
            _sync_dir(missing.parent)
    except OSError as error:
        raise _write_error(error) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` with a file that contains ``data``, atomically and durably, with mode 0600.

    After a crash, ``path`` has either the old or the new contents. Raises :class:`StorageError` if writing fails.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
        _sync_dir(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _write_error(error) from error


def _write_error(error: OSError) -> StorageError:
    return StorageError(
        f"Cannot write the key store: {error.strerror}.", "Check that its disk is writable and has free space."
    )


def _sync_dir(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
