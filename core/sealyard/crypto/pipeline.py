"""Process a byte stream in large chunks, with reading, encryption, hashing and writing in parallel threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from typing import BinaryIO

from sealyard.fs.atomic import storage_error
from sealyard.model.errors import InputMismatchError
from sealyard.model.formatting import format_count

CHUNK = 2 * 1024 * 1024
"""Size in bytes of a chunk.

Measured with 3 buffers on two cores, 2 to 4 MiB give the highest throughput; 1 MiB is slower because of thread
switches.
"""

BUFFERS = 3
"""Number of buffers that are filled in turn."""

Progress = Callable[[int], None]
"""A callback that receives the number of bytes processed since the last call. It may raise to stop the work."""


Consumer = Callable[[memoryview], object]
"""A function that processes a chunk in a thread of the pipeline. It must not use the chunk after it has returned."""


def no_progress(_: int) -> None:
    """Ignore the progress. Used where no progress callback is given."""


def pump(fill: Callable[[memoryview], int], consumers: Sequence[Consumer], buffer_length: int) -> None:
    """Fill buffers in the calling thread while each of ``consumers`` processes earlier buffers in its own thread.

    ``fill`` writes into a buffer of ``buffer_length`` bytes and returns the number of bytes written, 0 at the end of
    the stream. Each consumer receives all chunks in order.

    If ``fill`` or a consumer raises an exception, that exception is re-raised after all threads have finished. Until
    then, consumers may still receive chunks that were filled before.
    """
    buffers = cycle([memoryview(bytearray(buffer_length)) for _ in range(BUFFERS)])
    pending_futures: deque[list[Future[object]]] = deque()
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="pump")) for _ in consumers]
        while True:
            if len(pending_futures) == BUFFERS:
                _wait_all(pending_futures.popleft())
            buffer = next(buffers)
            length = fill(buffer)
            if not length:
                break
            pending_futures.append(
                [thread.submit(consumer, buffer[:length]) for thread, consumer in zip(threads, consumers, strict=True)]
            )
        for futures in pending_futures:
            _wait_all(futures)


def _wait_all(futures: Sequence[Future[object]]) -> None:
    for future in futures:
        future.result()


class ExactReader:
    """Reads exactly ``length`` bytes from ``source`` and calls ``progress`` after each read.

    :meth:`read_into` raises :class:`InputMismatchError` if ``source`` ends before ``length`` bytes.
    """

    def __init__(self, source: BinaryIO, length: int, progress: Progress) -> None:
        self._source = source
        self._remaining_length = length
        self._progress = progress

    def read_into(self, buffer: memoryview) -> int:
        """Read into ``buffer`` until it is full or no bytes remain. Returns the number of bytes read, 0 at the end."""
        target_length = min(len(buffer), self._remaining_length)
        bytes_read = 0
        while bytes_read < target_length:
            count = self._source.readinto(buffer[bytes_read:target_length])  # type: ignore[attr-defined]
            if not count:
                raise InputMismatchError(
                    f"The file ends {format_count(self._remaining_length - bytes_read, 'byte')} early.",
                    "The file changed while it was read; check it and try again.",
                )
            bytes_read += count
        self._remaining_length -= bytes_read
        if bytes_read:
            self._progress(bytes_read)
        return bytes_read


def write_to_stream(target: BinaryIO, chunk: memoryview) -> None:
    """Write all of ``chunk`` to ``target``. Raises :class:`StorageError` if a write fails."""
    try:
        while chunk:
            chunk = chunk[target.write(chunk) :]
    except OSError as error:
        raise storage_error(error, "writing the output") from error
