"""Detect that another process writes to a file that only this process may write.

A lock normally prevents this. The lock fails if its file is removed, or on a file system without working locks.
"""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.model.errors import ConcurrentWriterError
from sealyard.model.safe_text import escape_text


def require_sole_writer(path: Path, fd: int, size: int, failed_write: bytes = b"") -> None:
    """Check that the open file is still the file at ``path``, and that it has ``size`` bytes.

    After them, it may have a part of ``failed_write``, which an earlier write of this process left. The file must be
    open for reading. Raises :class:`ConcurrentWriterError` if the file differs, and ``OSError`` if it cannot be
    examined.
    """
    opened_file = os.fstat(fd)
    excess = opened_file.st_size - size
    if not 0 <= excess <= len(failed_write) or os.pread(fd, excess, size) != failed_write[:excess]:
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
