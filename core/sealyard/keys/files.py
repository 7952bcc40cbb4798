"""Key files: written whole or not at all, for the owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sealyard.model.errors import StorageError


def make_private_dir(folder: Path) -> None:
    """Makes ``folder`` and what is missing above it, mode 0700. Raises :class:`StorageError`."""
    try:
        for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(missing.parent)
    except OSError as error:
        raise _refused(error) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Puts ``data`` in the place of ``path``, mode 0600, durably: there is the old file or the new one.

    Raises :class:`StorageError` where the disk refuses.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refused(error) from error


def _refused(error: OSError) -> StorageError:
    return StorageError(f"The key store could not be written: {error.strerror}.", "See that its disk has room.")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
