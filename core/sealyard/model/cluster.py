"""The lease of a workspace in a database, which one of several servers holds."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct

DEFAULT_LEASE_SECONDS = 8.0


class LeaseSettings(FrozenStruct, frozen=True, kw_only=True):
    """How an engine holds the lease as one of several servers.

    ``url``: the address of this server for the others. ``seconds``: how long the lease lasts unless it is renewed.
    """

    url: str
    seconds: float = DEFAULT_LEASE_SECONDS


class LeaseHolder(FrozenStruct, frozen=True, kw_only=True):
    """The lease as the database describes it.

    ``name`` is ``host:pid`` of the holder, empty if the lease was released. ``remaining_seconds`` is negative if it was
    released or has expired.
    """

    term: int
    name: str
    url: str
    remaining_seconds: float


class HeldLease(FrozenStruct, frozen=True, kw_only=True):
    """The lease of this engine.

    ``remaining_seconds``: how long this engine may still answer, by the clock of this machine; None if it may until
    another engine has taken over.
    """

    term: int
    remaining_seconds: float | None
