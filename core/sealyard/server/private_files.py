"""Files that exist for a moment because the crypto worker reads and writes files: nobody else can read them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_folder(workspace: Path) -> Iterator[Path]:
    """A new folder (mode 0700) inside the workspace, gone with all it holds when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix=".passing-", dir=workspace))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_private(path: Path, content: bytes) -> Path:
    """A new file of mode 0600."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path
