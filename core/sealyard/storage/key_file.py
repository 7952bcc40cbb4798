"""A random key of the workspace in its own file: 32 bytes, mode 0600, written atomically."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sealyard.fs import atomic as disk

KEY_BYTES = 32


def create_random_key(path: Path, what: str) -> None:
    """Create a key file at ``path``, or replace it with a new key. It is durable on return.

    Raises :class:`StorageError`, whose message refers to the key as ``what``.
    """
    temporary = path.with_suffix(".new")
    try:
        fd = disk.create_private_file(temporary)
        try:
            disk.write_all(fd, secrets.token_bytes(KEY_BYTES))
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise disk.storage_error(error, f"creating {what}") from error
