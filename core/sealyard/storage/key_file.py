"""A random key of the workspace in a file of its own: 32 bytes, mode 0600, on the disk whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sealyard.fs import atomic as disk

KEY_BYTES = 32


def create_random_key(path: Path, what: str) -> None:
    """Durable on return, in the place of an older one. Raises :class:`StorageError`, which names it ``what``."""
    temporary = path.with_suffix(".new")
    try:
        handle = disk.create_private_file(temporary)
        try:
            disk.write_all(handle, secrets.token_bytes(KEY_BYTES))
            disk.sync(handle)
        finally:
            os.close(handle)
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise disk.storage_error(error, what) from error
