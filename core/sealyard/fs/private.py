"""Create files and directories that only their owner can access."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealyard.fs import atomic as disk
from sealyard.model.errors import InvalidInputError
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths


def create_private_file(path: Path) -> int:
    """Create a file of mode 0600 and return a descriptor to write it.

    Raises :class:`InvalidInputError` if the file already exists or cannot be created.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot create {escape_text(str(path))}: {error.strerror}.",
            "Choose a new file in a folder that you can write to.",
        ) from error


@contextmanager
def temporary_private_dir(paths: WorkspacePaths) -> Iterator[Path]:
    """Create a temporary directory (mode 0700), and remove it with its contents when the block ends.

    After a crash, the engine removes it at its next start.
    """
    disk.make_private_dir(paths.key_transfer)
    folder = Path(tempfile.mkdtemp(dir=paths.key_transfer))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_private_file(path: Path, content: bytes) -> Path:
    """Create a file of mode 0600 with ``content``. Raises as :func:`create_private_file` does."""
    with os.fdopen(create_private_file(path), "wb") as file:
        file.write(content)
    return path
