"""Bytes moved in large pieces, with reading, ciphering, hashing and writing on different cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from typing import BinaryIO

from sealyard.model.errors import InvalidInputError, StorageError

CHUNK = 2 * 1024 * 1024
"""Bytes in a piece. With 3 buffers, measured, 2 to 4 MiB keep two cores busiest; 1 MiB loses to thread changes."""

BUFFERS = 3

Progress = Callable[[int], None]
"""Told how many more bytes are done; may raise to stop the work."""

Consumer = Callable[[memoryview], object]
"""Takes a piece in a thread of the pipeline's own; must be done with it on return."""


def pump(fill: Callable[[memoryview], int], drains: Sequence[Consumer], buffer_length: int) -> None:
    """Fills buffers in the calling thread while every drain empties earlier ones in a thread of its own.

    ``fill`` says how many bytes it put in, 0 at the end. Each drain sees all pieces in order. An
    exception of ``fill`` or of a drain is raised here once no thread is at work any more; until then drains may
    still get the pieces that were filled before.
    """
    buffers = cycle([memoryview(bytearray(buffer_length)) for _ in range(BUFFERS)])
    in_use: deque[list[Future[object]]] = deque()
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="pump")) for _ in drains]
        while True:
            if len(in_use) == BUFFERS:
                _wait(in_use.popleft())
            buffer = next(buffers)
            count = fill(buffer)
            if not count:
                break
            in_use.append([thread.submit(drain, buffer[:count]) for thread, drain in zip(threads, drains, strict=True)])
        for drained in in_use:
            _wait(drained)


def _wait(drained: Sequence[Future[object]]) -> None:
    for each in drained:
        each.result()


class ExactReader:
    """Reads exactly ``length`` bytes of ``source``, and tells ``progress`` of each piece.

    Raises :class:`InvalidInputError` where the source ends before.
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
                raise InvalidInputError(
                    f"The file ends {self._left - got} bytes early.", "It was changed while it was read."
                )
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
