"""Hash files."""

from __future__ import annotations

import hashlib
from typing import BinaryIO


def file_sha256(file: BinaryIO) -> str:
    """Return the SHA-256 (hex) of ``file``, from its current position to its end."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # BinaryIO lacks readinto
