"""What downloads tell: how far they are, what came of each, and when the engine could not be heard."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ErrorInfo


class VerifiedBy(StrEnum):
    """How a download was judged: a container by its signature (and its digest), anything else by its digest."""

    SIGNATURE = "signature"
    DIGEST = "digest"


class DownloadedFile(FrozenStruct, frozen=True, kw_only=True):
    """A result in the download folder; ``size`` in bytes, ``sha256`` in hex. ``warnings`` are for a person."""

    task_id: str
    path: str
    size: int
    sha256: str
    checked: VerifiedBy
    at: datetime
    warnings: tuple[str, ...] = ()


class DownloadProgress(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Bytes; at most ten times a second for each task, and once at the end."""

    task_id: str
    name: str
    bytes_done: int
    bytes_total: int


class DownloadResult(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """What came of fetching one task: either ``downloaded`` or ``error``.

    ``retry_in``: seconds until it is tried again by itself; None where it is not.
    """

    task_id: str
    name: str
    downloaded: DownloadedFile | None = None
    error: ErrorInfo | None = None
    retry_in: float | None = None


class DownloadsInterrupted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The connection to the engine broke; it is tried again in ``retry_in`` seconds.

    ``retry_in`` is None where nothing comes down by itself any more.
    """

    error: ErrorInfo
    retry_in: float | None


DownloadEvent = DownloadProgress | DownloadResult | DownloadsInterrupted
DownloadCallback = Callable[[DownloadEvent], None]
"""Called on the loop that runs the download; must not block."""
