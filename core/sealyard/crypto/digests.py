"""Incremental SHA-256: in a background thread, or of a prefix of the data."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

INLINE_LENGTH = 64 * 1024
"""Below this size in bytes, hashing takes less time than starting a thread."""


class BackgroundHash:
    """SHA-256 computed in a background thread, at most one piece behind the caller.

    The caller must not modify a piece until the next :meth:`update` or :meth:`hexdigest` has returned. If the first
    piece is smaller than ``INLINE_LENGTH``, it is hashed in the calling thread, because starting a thread would take
    longer.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._executor: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown()

    def update(self, piece: memoryview) -> None:
        if self._executor is None and len(piece) < INLINE_LENGTH:
            self._digest.update(piece)
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="background-hash")
        self._wait()
        self._pending = self._executor.submit(self._digest.update, piece)

    def hexdigest(self) -> str:
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


class PrefixHash:
    """SHA-256 of the first ``size`` bytes. Ignores the bytes after them, which are zero padding.

    ``bytes_missing`` is the number of bytes still to come.
    """

    def __init__(self, size: int) -> None:
        self.bytes_missing = size
        self._digest = hashlib.sha256()

    def update(self, piece: memoryview) -> None:
        head = piece[: self.bytes_missing]
        self._digest.update(head)
        self.bytes_missing -= len(head)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
