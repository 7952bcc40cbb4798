"""What a watch folder tells, and the offers it makes."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

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
"""What the dropped files, or who drops them, are refused for; other errors may pass by themselves."""


class DropAction(StrEnum):
    """What becomes of a drop that is ready."""

    OFFER = "offer"
    SUBMIT = "submit"


class PackageProposal(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """One package that could be made. Paths are absolute; ``name``: of the file or sub-folder that was dropped."""

    name: str
    path: str
    device: str
    firmware: tuple[str, ...]
    fingerprint: str
    metadata: tuple[str, ...] = ()


class DropSubmitted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A task was made of what was dropped."""

    offer: PackageProposal
    task: Task


class DropRejected(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """What was dropped cannot become a package; it is not tried again until it changes, or the watch starts anew."""

    name: str
    path: str
    error: ErrorInfo


class DropDeferred(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Not the fault of what was dropped (disk, connection, lock): it is tried again in ``retry_in`` seconds."""

    name: str
    path: str
    error: ErrorInfo
    retry_in: float


WatchEvent = PackageProposal | DropSubmitted | DropRejected | DropDeferred
WatchCallback = Callable[[WatchEvent], None]
"""Called on the loop that runs the watch; must not block."""
