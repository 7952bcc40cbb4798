"""Making a large file durable while it is being written, so that the sync at its end has little left to do."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

FSYNC_INTERVAL = 0.1


@contextmanager
def background_fsync(file: BinaryIO) -> Iterator[None]:
    """Has the system write what is there so far, over and over, beside whoever writes on.

    The disk works while ciphers and digests do. What is still missing, the caller syncs. Raises the
    :class:`OSError` of a sync that failed: the system tells of it once, a later sync would know nothing of it.
    """
    ended = threading.Event()
    failed: list[OSError] = []

    def write() -> None:
        while not ended.wait(FSYNC_INTERVAL) and not failed:
            try:
                os.fdatasync(file.fileno())
            except OSError as error:
                failed.append(error)

    writing = threading.Thread(target=write, name="written-early", daemon=True)
    writing.start()
    try:
        yield
    finally:
        ended.set()
        writing.join()
    if failed:
        raise failed[0]
