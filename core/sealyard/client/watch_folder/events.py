"""Events of a watch folder, and the package proposals it makes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import (
    ConflictError,
    ErrorInfo,
    FormatLimitError,
    InvalidInputError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.tasks import Task

PERMANENT_ERRORS = (
    InvalidInputError,
    UsageError,
    PermissionDeniedError,
    NotFoundError,
    ConflictError,
    FormatLimitError,
    InvalidKeyError,
)
"""Errors caused by the dropped files or by missing permissions, for which a retry is useless. Others are retried."""


class PackageProposal(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A package that can be created from a dropped entry.

    ``name`` is the name of the dropped file or subfolder, and ``device`` the id of the device configuration. Paths are
    absolute.
    """

    name: str
    path: str
    device: str
    firmware: tuple[str, ...]
    fingerprint: str
    metadata: tuple[str, ...] = ()


class DropSubmitted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A task was created for a dropped entry."""

    proposal: PackageProposal = msgspec.field(name="offer")
    task: Task


class DropRejected(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A dropped entry cannot become a package. The watcher ignores it until it changes or the watcher is restarted."""

    name: str
    path: str
    error: ErrorInfo


class DropDeferred(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Processing failed for a reason outside the dropped entry (disk, connection, lock).

    The watcher retries the entry in ``retry_in`` seconds.
    """

    name: str
    path: str
    error: ErrorInfo
    retry_in: float


WatchEvent = PackageProposal | DropSubmitted | DropRejected | DropDeferred
WatchCallback = Callable[[WatchEvent], None]
"""Receives the events of a watcher. Called on the event loop that runs the watcher; must not block."""
