"""Events that report downloads: progress, results, and lost connections to the engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ErrorInfo


class VerifiedBy(StrEnum):
    """How a download was verified: a container by its signature and digest, any other file by its digest only."""

    SIGNATURE = "signature"
    DIGEST = "digest"


class DownloadedFile(FrozenStruct, frozen=True, kw_only=True):
    """A result in the download folder.

    ``size`` is in bytes, ``sha256`` in hex. ``checked`` states how the file was verified and ``at`` when it was
    downloaded. ``warnings`` are texts for the user. ``was_on_disk``: whether this download found the file in the
    folder, with the same digest, and transferred nothing.
    """

    task_id: str
    path: str
    size: int
    sha256: str
    checked: VerifiedBy
    at: datetime
    warnings: tuple[str, ...] = ()
    was_on_disk: bool = False


class DownloadProgress(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Progress of one download in bytes, reported at most ten times a second for each task and once at the end."""

    task_id: str
    name: str
    bytes_done: int
    bytes_total: int


class DownloadResult(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Outcome of one attempt to download a task's artifact: either ``downloaded`` or ``error`` is set.

    ``retry_in`` is the number of seconds until the automatic retry; None if there will be no retry.
    """

    task_id: str
    name: str
    downloaded: DownloadedFile | None = None
    error: ErrorInfo | None = None
    retry_in: float | None = None


class DownloadsInterrupted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The connection to the engine was lost. The next attempt to connect is in ``retry_in`` seconds.

    ``retry_in`` is None if automatic downloads have ended.
    """

    error: ErrorInfo
    retry_in: float | None


DownloadEvent = DownloadProgress | DownloadResult | DownloadsInterrupted
DownloadCallback = Callable[[DownloadEvent], None]
"""Receives download events. Called on the loop that runs the download; must not block."""
