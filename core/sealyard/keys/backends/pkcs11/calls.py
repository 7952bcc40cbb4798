"""Coordinate the threads that call a module."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sealyard.model.errors import KeyProviderUnavailableError

EXCLUSIVE_TIMEOUT = 20.0
"""Seconds to wait for calls to return before the module is initialized again."""


class CallGate:
    """Admits threads to a module: several at once, or one at a time if ``is_serial``; none while it is restarted.

    A module must not be finalized while another thread is in a call.
    """

    def __init__(self) -> None:
        self.is_serial = False
        self._condition = threading.Condition()
        self._active_calls = 0
        self._exclusive_requests = 0

    @contextmanager
    def call(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(self._admits_call)
            self._active_calls += 1
        try:
            yield
        finally:
            with self._condition:
                self._active_calls -= 1
                self._condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait until no other thread is in a call, and let none begin one within the block.

        Raises :class:`KeyProviderUnavailableError` if a call does not return.
        """
        with self._condition:
            self._exclusive_requests += 1
            try:
                if not self._condition.wait_for(lambda: not self._active_calls, EXCLUSIVE_TIMEOUT):
                    raise KeyProviderUnavailableError(
                        "A call of the PKCS#11 module does not return.", "Check that the token is connected."
                    )
                yield
            finally:
                self._exclusive_requests -= 1
                self._condition.notify_all()

    def _admits_call(self) -> bool:
        return not self._exclusive_requests and not (self.is_serial and self._active_calls)
