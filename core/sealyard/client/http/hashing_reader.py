"""A file on its way to a server: hashed while it is read, and each byte once however often it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from sealyard.client.http.throttle import ThrottledProgress
from sealyard.client.protocol import ProgressCallback
from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from sealyard.fs.source_file import SourceFile, verify_digest
from sealyard.model.tasks import InputFile

CHUNK = 1 << 20  # bytes


class HashingFileReader:
    """Raises :class:`InvalidInputError` where the file cannot be handed in, or is not what was expected."""

    def __init__(self, path: Path, expected_sha256: str | None, progress: ProgressCallback | None) -> None:
        self._source = SourceFile(path)
        self._expected = expected_sha256
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._tell = ThrottledProgress(progress, self._source.size)
        # A name that is no valid Unicode gets its odd bytes as escapes: it must fit into JSON.
        self.name = path.name.encode("utf-8", "backslashreplace").decode()

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def file(self) -> InputFile:
        """Once all of it was read."""
        return InputFile(name=self.name, size=self.size, sha256=self._digest.hexdigest())

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """All from ``offset`` on. The last of them comes when the whole was found to be as it should be."""
        self._source.seek(offset)
        while offset < self.size:
            # Whoever is cancelled closes the file next: by then no thread may be reading what has its number.
            piece = await run_cancellable(partial(self._read_chunk, offset))
            offset += len(piece)
            yield piece
            self._tell(offset)

    def close(self) -> None:
        self._source.close()

    def _read_chunk(self, offset: int, _: CheckCancelled) -> bytes:
        buffer = memoryview(bytearray(min(CHUNK, self.size - offset)))
        length = self._source.read_into(buffer)
        end = offset + length
        if end > self._hashed:
            self._digest.update(buffer[self._hashed - offset : length])
            self._hashed = end
        if end == self.size or not length:
            self._source.check_unmodified(end)
            verify_digest(self._source.name, self._digest.hexdigest(), self._expected)
        return bytes(buffer[:length])
