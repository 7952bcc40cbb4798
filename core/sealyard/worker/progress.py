"""Counting bytes over all passes of a job, and stopping it when it is to stop."""

from __future__ import annotations

import threading


class JobCancelledError(Exception):
    """The engine asked to leave the job; raised at the next chunk."""


class JobProgress:
    """Told of bytes by several threads; read by the beat."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._stopped = threading.Event()
        self._counting = threading.Lock()

    def __call__(self, count: int) -> None:
        if self._stopped.is_set():
            raise JobCancelledError
        with self._counting:
            self.done += count

    def stop(self) -> None:
        self._stopped.set()
