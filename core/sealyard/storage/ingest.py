"""Copy the content of an input, and hash it."""

from __future__ import annotations

import hashlib

from sealyard.crypto.digests import BackgroundHash
from sealyard.crypto.pipeline import Progress
from sealyard.fs import atomic
from sealyard.fs.source_file import SourceFile
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError

CHUNK_BYTES = 4 << 20  # bytes


class StoredInput(FrozenStruct, frozen=True, kw_only=True):
    """A stored input: SHA-256 in lower case hex, and size in bytes."""

    sha256: str
    size: int


def copy_and_hash(source: SourceFile, target_fd: int, progress: Progress) -> str:
    """Copy ``source`` to the file descriptor ``target_fd``, and return the SHA-256 of the content in hex.

    Two buffers alternate: while one is being hashed in a second thread, it is also written, and the other one is
    filled. Raises :class:`InvalidInputError` if the source cannot be read or changes during the copy, ``OSError`` if
    the target cannot be written, and what ``progress`` raises.
    """
    buffer_size = min(CHUNK_BYTES, source.size)
    buffers = [memoryview(bytearray(buffer_size)), memoryview(bytearray(buffer_size))]
    bytes_copied = 0
    with BackgroundHash() as hasher:
        while length := source.read_into(buffers[0]):
            chunk = buffers[0][:length]
            hasher.update(chunk)
            atomic.write_all(target_fd, chunk)
            bytes_copied += length
            progress(length)
            buffers.reverse()
        sha256 = hasher.hexdigest()
    source.check_unmodified(bytes_copied)
    return sha256


def write_and_hash(data: bytes, target_fd: int) -> str:
    """Write ``data`` to the file descriptor ``target_fd``, and return its SHA-256 in hex.

    Raises :class:`InvalidInputError` if ``data`` is empty, and ``OSError`` if the target cannot be written.
    """
    if not data:
        raise InvalidInputError("The content is empty.", "Choose a file with content.")
    atomic.write_all(target_fd, data)
    return hashlib.sha256(data).hexdigest()
