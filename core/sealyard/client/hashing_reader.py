"""Read a file for an upload, and hash it at the same time; or only hash it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from sealyard.client.progress import ThrottledProgress
from sealyard.client.protocol import ProgressCallback
from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from sealyard.fs.source_file import SourceFile, to_utf8_name, verify_digest
from sealyard.model.tasks import InputFile

CHUNK_BYTES = 1 << 20


class HashingFileReader:
    """Reads a file in chunks from any offset, and computes its SHA-256. Bytes that are read again are not hashed again.

    The constructor and :meth:`chunks` raise :class:`InvalidInputError` if the file cannot be uploaded, has changed, or
    does not match ``expected_sha256`` (hex).
    """

    def __init__(self, path: Path, expected_sha256: str | None, progress: ProgressCallback | None) -> None:
        self._source = SourceFile(path)
        self._expected_sha256 = expected_sha256
        self._hasher = hashlib.sha256()
        self._bytes_hashed = 0
        self._progress = ThrottledProgress(progress, self._source.size)
        self.name = to_utf8_name(path.name)

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def file(self) -> InputFile:
        """Name, size and digest of the file. Valid once the whole file has been read."""
        return InputFile(name=self.name, size=self.size, sha256=self._hasher.hexdigest())

    async def chunks(self, offset: int, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the content from byte ``offset`` on, up to ``end``.

        The last chunk of the file is yielded only after the file was verified.
        """
        async for chunk in self._read_range(offset, self.size if end is None else end):
            yield chunk
            offset += len(chunk)
            self._progress.update(offset)

    async def hash_range(self, offset: int, end: int) -> str:
        """Read the bytes from ``offset`` up to ``end``, and return their SHA-256 (hex).

        ``offset`` must not be greater than the number of bytes that were read before.
        """
        hasher = hashlib.sha256()
        async for chunk in self._read_range(offset, end):
            hasher.update(chunk)
        return hasher.hexdigest()

    def close(self) -> None:
        self._source.close()

    async def _read_range(self, offset: int, end: int) -> AsyncIterator[bytes]:
        self._source.seek(offset)
        while offset < end:
            # A cancelled caller closes the file next. No thread may still read from its descriptor then, because the
            # operating system may assign the descriptor to another file.
            chunk = await run_cancellable(partial(self._read_chunk, offset, min(CHUNK_BYTES, end - offset)))
            offset += len(chunk)
            yield chunk

    def _read_chunk(self, offset: int, max_length: int, _: CheckCancelled) -> bytes:
        buffer = memoryview(bytearray(max_length))
        length = self._source.read_into(buffer)
        end = offset + length
        if end > self._bytes_hashed:
            self._hasher.update(buffer[self._bytes_hashed - offset : length])
            self._bytes_hashed = end
        if end == self.size or not length:
            self._source.check_unmodified(end)
            verify_digest(self._source.name, self._hasher.hexdigest(), self._expected_sha256)
        return bytes(buffer[:length])


async def hash_file(
    path: Path, expected_sha256: str | None = None, progress: ProgressCallback | None = None
) -> InputFile:
    """Return name, size and digest of a file, as an upload of the file would.

    Raises the errors of :class:`HashingFileReader`.
    """
    reader = HashingFileReader(path, expected_sha256, progress)
    try:
        async for _ in reader.chunks(0):
            pass
        return reader.file
    finally:
        reader.close()
