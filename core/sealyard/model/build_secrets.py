"""The build secret of a task as the engine stores it: wrapped, so that only a worker can use it."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct


class WrappedBuildSecret(FrozenStruct, frozen=True, kw_only=True):
    """The secret from which all random bytes of a task's result are derived, wrapped (Base64) by the worker.

    It can only be unwrapped for the same task with the same approved contents, and for the ``format`` and ``revision``
    for which it was created.
    """

    wrapped: str
    format: str
    revision: int
