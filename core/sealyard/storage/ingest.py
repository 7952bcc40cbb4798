"""Takes a person's file in: hashed and copied side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sealyard.fs import atomic as disk
from sealyard.fs.source_file import SourceFile
from sealyard.model.base import FrozenStruct

CHUNK_BYTES = 4 << 20  # bytes

Progress = Callable[[int], None]
"""Told how many more bytes are done; may raise to stop."""


class StoredInput(FrozenStruct, frozen=True, kw_only=True):
    """Content as it is stored: SHA-256 in lower case hex, and size in bytes."""

    sha256: str
    size: int


def copy_and_hash(source: SourceFile, target: int, progress: Progress) -> str:
    """Copies ``source`` to the descriptor ``target``; the SHA-256 in hex.

    Two buffers take turns: while one is hashed, it is written too and the other one is filled. Raises
    :class:`InvalidInputError` for the source, ``OSError`` for the target, and whatever ``progress`` raises.
    """
    digest = hashlib.sha256()
    size = min(CHUNK_BYTES, source.size)
    buffers = [memoryview(bytearray(size)), memoryview(bytearray(size))]
    done = 0
    with ThreadPoolExecutor(1, thread_name_prefix="sealyard-hash") as hasher:
        hashed = hasher.submit(digest.update, b"")
        while length := source.read_into(buffers[0]):
            hashed.result()
            chunk = buffers[0][:length]
            hashed = hasher.submit(digest.update, chunk)
            disk.write_all(target, chunk)
            done += length
            progress(length)
            buffers.reverse()
        hashed.result()
    source.check_unmodified(done)
    return digest.hexdigest()
