"""Process a byte stream in large pieces, with reading, encryption, hashing and writing in parallel threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from typing import BinaryIO

from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.model.formatting import format_count

CHUNK = 2 * 1024 * 1024
"""Size in bytes of a piece.

Measured with 3 buffers on two cores, 2 to 4 MiB give the highest throughput; 1 MiB is slower because of thread
switches.
"""

BUFFERS = 3
"""Number of buffers that are filled in turn."""

Progress = Callable[[int], None]
"""Called with the number of bytes processed since the last call. May raise an exception to stop the work."""


Consumer = Callable[[memoryview], object]
"""Processes a piece, in a thread of the pipeline. Must not use the piece after it has returned."""


def no_progress(_: int) -> None:
    """Ignore the progress: the default for callers that pass no callback."""


def pump(fill: Callable[[memoryview], int], drains: Sequence[Consumer], buffer_length: int) -> None:
    """Fill buffers in the calling thread while each of ``drains`` processes earlier ones in its own thread.

    ``fill`` writes into a buffer of ``buffer_length`` bytes and returns the number of bytes written, 0 at the end of
    the stream. Each drain receives all pieces in order.

    If ``fill`` or a drain raises an exception, it is re-raised after all threads have finished. Until then, drains
    may still receive pieces that were already filled.
    """
    buffers = cycle([memoryview(bytearray(buffer_length)) for _ in range(BUFFERS)])
    pending: deque[list[Future[object]]] = deque()
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="pump")) for _ in drains]
        while True:
            if len(pending) == BUFFERS:
                _wait(pending.popleft())
            buffer = next(buffers)
            count = fill(buffer)
            if not count:
                break
            pending.append(
                [thread.submit(drain, buffer[:count]) for thread, drain in zip(threads, drains, strict=True)]
            )
        for futures in pending:
            _wait(futures)


def _wait(futures: Sequence[Future[object]]) -> None:
    for future in futures:
        future.result()


class ExactReader:
    """Reads exactly ``length`` bytes from ``source`` and calls ``progress`` for each piece.

    :meth:`read_into` raises :class:`InvalidInputError` if ``source`` ends before ``length`` bytes.
    """

    def __init__(self, source: BinaryIO, length: int, progress: Progress) -> None:
        self._source = source
        self._remaining = length
        self._progress = progress

    def read_into(self, buffer: memoryview) -> int:
        """Read into ``buffer`` until it is full or no bytes remain. Returns the number of bytes read, 0 at the end."""
        limit = min(len(buffer), self._remaining)
        read = 0
        while read < limit:
            count = self._source.readinto(buffer[read:limit])  # type: ignore[attr-defined]
            if not count:
                raise InvalidInputError(
                    f"The file ends {format_count(self._remaining - read, 'byte')} early.",
                    "The file changed while it was read; check it and try again.",
                )
            read += count
        self._remaining -= read
        if read:
            self._progress(read)
        return read


def write_to_stream(target: BinaryIO, piece: memoryview) -> None:
    """Write all of ``piece`` to ``target``. Raises :class:`StorageError` if a write fails."""
    try:
        while piece:
            piece = piece[target.write(piece) :]
    except OSError as error:
        raise StorageError(f"Cannot write the output: {error.strerror}.", "Free some disk space.") from error
