"""SHA-256 of bytes that pass by: beside other work, or of their beginning only."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

INLINE_LENGTH = 64 * 1024
"""Bytes that are hashed faster than a thread is started."""


class BackgroundHash:
    """SHA-256 of pieces that a thread of its own hashes, at most one piece behind the caller.

    A piece must stay unchanged until the call after the next one. A first piece that is smaller than
    ``INLINE_LENGTH`` is hashed at once: a thread would cost more than it saves.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def update(self, piece: memoryview) -> None:
        if self._thread is None and len(piece) < INLINE_LENGTH:
            self._digest.update(piece)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="plaintext-hash")
        self._wait()
        self._running = self._thread.submit(self._digest.update, piece)

    def hexdigest(self) -> str:
        self._wait()
        return self._digest.hexdigest()

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()


class PrefixHash:
    """SHA-256 of the first ``size`` bytes; ``missing`` counts those that have not come yet.

    What follows them, zero padding, is ignored.
    """

    def __init__(self, size: int) -> None:
        self.missing = size
        self._digest = hashlib.sha256()

    def update(self, piece: memoryview) -> None:
        head = piece[: self.missing]
        self._digest.update(head)
        self.missing -= len(head)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
