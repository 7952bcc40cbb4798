"""Bytes moved in large pieces, with reading, ciphering, hashing and writing on different cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import BinaryIO

from sealyard.model.errors import InputError, StorageError

CHUNK = 4 * 1024 * 1024
"""Bytes in a piece; measured: from 1 MiB on threads are busy enough, beyond 8 MiB the caches are not."""

Progress = Callable[[int], None]
"""Told how many more bytes are done; may raise to stop the work."""

Drain = Callable[[memoryview], object]
"""Takes a piece in a thread of the pipeline's own; must be done with it on return."""


def pump(fill: Callable[[memoryview], int], drains: Sequence[Drain], buffer_length: int) -> None:
    """Fills one buffer in the calling thread while every drain empties the other in a thread of its own.

    ``fill`` says how many bytes it put in, 0 at the end. Each drain sees all pieces in order. The first
    exception, of ``fill`` or of a drain, is raised here once no thread is at work any more.
    """
    buffers = cycle([memoryview(bytearray(buffer_length)) for _ in range(2)])
    draining: list[Future[object]] = []
    with ThreadPoolExecutor(len(drains), thread_name_prefix="pump") as threads:
        while True:
            buffer = next(buffers)
            count = fill(buffer)
            for each in draining:
                each.result()
            if not count:
                return
            draining = [threads.submit(drain, buffer[:count]) for drain in drains]


class ExactReader:
    """Reads exactly ``length`` bytes of ``source``, and tells ``progress`` of each piece.

    Raises :class:`InputError` where the source ends before.
    """

    def __init__(self, source: BinaryIO, length: int, progress: Progress) -> None:
        self._source = source
        self._left = length
        self._progress = progress

    def read_into(self, buffer: memoryview) -> int:
        """Fills ``buffer`` as far as there is something left; 0 at the end."""
        wanted = min(len(buffer), self._left)
        got = 0
        while got < wanted:
            count = self._source.readinto(buffer[got:wanted])  # type: ignore[attr-defined]
            if not count:
                raise InputError(f"The file ends {self._left - got} bytes early.", "It was changed while it was read.")
            got += count
        self._left -= got
        if got:
            self._progress(got)
        return got


def write_all(target: BinaryIO, piece: memoryview) -> None:
    """Raises :class:`StorageError` where the disk refuses."""
    try:
        while piece:
            piece = piece[target.write(piece) :]
    except OSError as error:
        raise StorageError(f"Nothing more can be written: {error.strerror}.", "Make room on the disk.") from error
