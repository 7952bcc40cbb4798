"""Delivery of changes, for front ends in which users can cancel a change that waits for a lost connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

ErrorCheck = Callable[[Exception], bool]
"""Returns whether an error proves that the change was not processed."""


class Delivery:
    """Whether a change may have reached the engine or the server. Thread-safe, because clients run on own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._may_have_arrived = False
        self._is_cancelled = False

    @property
    def may_have_arrived(self) -> bool:
        with self._lock:
            return self._may_have_arrived

    def cancel(self) -> bool:
        """Prevent the change from being sent again, and return whether it may have arrived before.

        If the result is False, the change has not been made and will not be made.
        """
        with self._lock:
            self._is_cancelled = True
            return self._may_have_arrived

    def record(self) -> bool:
        """Record that the change is being sent, and return whether it may have arrived before.

        Raises :class:`asyncio.CancelledError` after :meth:`cancel`.
        """
        with self._lock:
            if self._is_cancelled:
                raise asyncio.CancelledError
            arrived_before, self._may_have_arrived = self._may_have_arrived, True
            return arrived_before

    @contextmanager
    def attempt(self, has_not_arrived: ErrorCheck) -> Iterator[None]:
        """Record an attempt to send the change, and undo this if it fails with an error that ``has_not_arrived``.

        Raises :class:`asyncio.CancelledError` after :meth:`cancel`.
        """
        arrived_before = self.record()
        try:
            yield
        except Exception as error:
            if has_not_arrived(error):
                with self._lock:
                    self._may_have_arrived = arrived_before
            raise


_current_delivery: ContextVar[Delivery | None] = ContextVar("delivery", default=None)


@contextmanager
def track_delivery() -> Iterator[Delivery]:
    """Track the changes that are requested from any client within this context."""
    delivery = Delivery()
    token = _current_delivery.set(delivery)
    try:
        yield delivery
    finally:
        _current_delivery.reset(token)


def record_delivery() -> None:
    """Record that a client hands over a change, if the caller tracks it, see :meth:`Delivery.record`."""
    if (delivery := _current_delivery.get()) is not None:
        delivery.record()


def delivery_attempt(has_not_arrived: ErrorCheck) -> AbstractContextManager[None]:
    """Return the context in which a client tries to send a change, see :meth:`Delivery.attempt`.

    Does nothing if the caller does not track the change.
    """
    delivery = _current_delivery.get()
    return nullcontext() if delivery is None else delivery.attempt(has_not_arrived)
