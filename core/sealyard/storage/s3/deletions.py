"""Delete objects in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sealyard.model.errors import SealyardError

log = logging.getLogger(__name__)


class DeletionQueue:
    """Deletes objects in a thread, because callers on the event loop must not wait for the network.

    :meth:`hold` excludes the deletion of a key while the same content is stored again. A deletion that fails is not
    repeated: the next start of the engine deletes inputs without a reference.
    """

    def __init__(self, delete: Callable[[str], None]) -> None:
        self._delete = delete
        self._changed = threading.Condition()
        """Guards all attributes below."""
        self._pending: dict[str, None] = {}
        self._running_key: str | None = None
        self._holders: dict[str, int] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, key: str) -> None:
        """Delete the object soon, but not while :meth:`hold` is active."""
        with self._changed:
            if self._closed:
                return
            self._pending[key] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="s3-deletions", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Exclude the deletion of the key in the block, after waiting for one that is in progress."""
        with self._changed:
            self._holders[key] = self._holders.get(key, 0) + 1
            self._changed.wait_for(lambda: self._running_key != key)
        try:
            yield
        finally:
            with self._changed:
                self._holders[key] -= 1
                if not self._holders[key]:
                    del self._holders[key]
                self._changed.notify_all()

    def withdraw(self, key: str) -> None:
        """Cancel a deletion. Must be called in :meth:`hold`, so that it has not begun."""
        with self._changed:
            self._pending.pop(key, None)

    def close(self, *, finish: bool) -> None:
        """Stop, after the deletion in progress. ``finish``: whether to do the pending ones before that.

        If one fails then, the others are dropped.
        """
        with self._changed:
            self._closed = True
            if not finish:
                self._pending.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (key := self._take()) is not None:
            try:
                self._delete(key)
            except SealyardError as error:
                log.warning("could not delete an input, retrying at the next start: %s", error)
                self._on_failure()
            with self._changed:
                self._running_key = None
                self._changed.notify_all()

    def _on_failure(self) -> None:
        with self._changed:
            if self._closed:
                self._pending.clear()

    def _take(self) -> str | None:
        """Wait for a key that is not held; None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._next_key() is not None)
            key = self._next_key()
            if key is not None:
                del self._pending[key]
                self._running_key = key
            return key

    def _next_key(self) -> str | None:
        return next((key for key in self._pending if key not in self._holders), None)
