"""New files for their owner alone."""

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
    """A descriptor to write a new file of mode 0600. Raises :class:`InvalidInputError`, also where one is there
    already.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(
            f"{escape_text(str(path))} cannot be written: {error.strerror}.", "Name a new file in a folder of yours."
        ) from error


@contextmanager
def temporary_private_dir(places: WorkspacePaths) -> Iterator[Path]:
    """A new folder (mode 0700), gone with all it holds when the block ends; after a crash, when the engine starts."""
    disk.make_private_dir(places.key_transfer)
    folder = Path(tempfile.mkdtemp(dir=places.key_transfer))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_private_file(path: Path, content: bytes) -> Path:
    """A new file of mode 0600."""
    with os.fdopen(create_private_file(path), "wb") as file:
        file.write(content)
    return path
