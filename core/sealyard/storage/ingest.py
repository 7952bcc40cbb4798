"""Copying of an input file, hashed in parallel."""

from __future__ import annotations

from sealyard.crypto.digests import BackgroundHash
from sealyard.crypto.pipeline import Progress
from sealyard.fs import atomic
from sealyard.fs.source_file import SourceFile
from sealyard.model.base import FrozenStruct

CHUNK_BYTES = 4 << 20  # bytes


class StoredInput(FrozenStruct, frozen=True, kw_only=True):
    """A stored input: SHA-256 in lower case hex, and size in bytes."""

    sha256: str
    size: int


def copy_and_hash(source: SourceFile, target: int, progress: Progress) -> str:
    """Copy ``source`` to the descriptor ``target`` and return the SHA-256 in hex.

    Two buffers alternate: while one is hashed in a second thread, it is also written, and the other one is filled.
    Raises :class:`InvalidInputError` if the source cannot be read or changes, ``OSError`` if the target cannot be
    written, and what ``progress`` raises.
    """
    size = min(CHUNK_BYTES, source.size)
    buffers = [memoryview(bytearray(size)), memoryview(bytearray(size))]
    done = 0
    with BackgroundHash() as digest:
        while length := source.read_into(buffers[0]):
            chunk = buffers[0][:length]
            digest.update(chunk)
            atomic.write_all(target, chunk)
            done += length
            progress(length)
            buffers.reverse()
        sha256 = digest.hexdigest()
    source.check_unmodified(done)
    return sha256
