"""Keys on their way between a caller and the crypto worker, which reads and writes files: gone a moment later."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealyard.files.private import create_private_file
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage import disk


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
