"""Incremental SHA-256: in a background thread, or of a prefix of the data."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

INLINE_LENGTH = 64 * 1024
"""Size in bytes below which hashing a chunk takes less time than starting a thread."""


class BackgroundHash:
    """SHA-256 computed in a background thread, at most one chunk behind the caller.

    The caller must not modify a chunk until the next :meth:`update` or :meth:`hexdigest` has returned. Until a chunk of
    at least ``INLINE_LENGTH`` bytes is added, chunks are hashed in the calling thread, because starting a thread would
    take longer.
    """

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self._executor: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown()

    def update(self, chunk: memoryview) -> None:
        if self._executor is None and len(chunk) < INLINE_LENGTH:
            self._hasher.update(chunk)
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="background-hash")
        self._wait()
        self._pending = self._executor.submit(self._hasher.update, chunk)

    def hexdigest(self) -> str:
        self._wait()
        return self._hasher.hexdigest()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


class PrefixHash:
    """SHA-256 of the first ``size`` bytes. Ignores all further bytes, which are zero padding.

    ``bytes_missing``: how many of the first ``size`` bytes have not been received yet.
    """

    def __init__(self, size: int) -> None:
        self.bytes_missing = size
        self._hasher = hashlib.sha256()

    def update(self, chunk: memoryview) -> None:
        prefix = chunk[: self.bytes_missing]
        self._hasher.update(prefix)
        self.bytes_missing -= len(prefix)

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()
