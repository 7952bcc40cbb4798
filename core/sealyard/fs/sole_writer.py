"""Detect that another process writes to a file that only this process may write.

A lock normally prevents this. The lock fails if its file is removed, or on a file system without working locks.
"""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.model.errors import ConcurrentWriterError
from sealyard.model.safe_text import escape_text


def require_sole_writer(path: Path, fd: int, min_size: int, max_size: int | None = None) -> None:
    """Check that the open file is still the file at ``path``, and that its size is as expected.

    The size must be between ``min_size`` and ``max_size`` bytes; without ``max_size``, exactly ``min_size``. Raises
    :class:`ConcurrentWriterError` if not, and ``OSError`` if the file cannot be examined.
    """
    opened_file = os.fstat(fd)
    if not min_size <= opened_file.st_size <= (min_size if max_size is None else max_size):
        raise concurrent_writer_error(path)
    try:
        named_file = path.stat()
    except FileNotFoundError:
        raise concurrent_writer_error(path) from None
    if not os.path.samestat(opened_file, named_file):
        raise concurrent_writer_error(path)


def concurrent_writer_error(path: Path) -> ConcurrentWriterError:
    """Return the error for a file that another process has changed or replaced."""
    return ConcurrentWriterError(
        f"Another process changed {escape_text(path.name)} while this process had the workspace open."
        " This process writes nothing more.",
        "Close all processes that use the workspace, find out which one ignored its lock, then open it again.",
    )
