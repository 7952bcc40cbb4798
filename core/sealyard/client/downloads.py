"""Finished tasks come down by themselves: whole, checked, and each of them once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from sealyard.client.download_state import DownloadState
from sealyard.client.protocol import Client, Progress
from sealyard.model.clock import Clock
from sealyard.model.errors import ErrorValue
from sealyard.model.tasks import Task
from sealyard.model.value import Value


class Checked(StrEnum):
    """How a download was judged: a container by its signature (and its digest), anything else by its digest."""

    SIGNATURE = "signature"
    DIGEST = "digest"


class Downloaded(Value, frozen=True, kw_only=True):
    """A result in the download folder; ``size`` in bytes, ``sha256`` in hex. ``warnings`` are for a person."""

    task_id: str
    path: str
    size: int
    sha256: str
    checked: Checked
    at: datetime
    warnings: tuple[str, ...] = ()


class DownloadProgress(Value, frozen=True, kw_only=True, tag=True):
    """Bytes; at most ten times a second for each task, and once at the end."""

    task_id: str
    name: str
    bytes_done: int
    bytes_total: int


class Outcome(Value, frozen=True, kw_only=True, tag=True):
    """What came of fetching one task: either ``downloaded`` or ``error``.

    ``retryIn``: seconds until it is tried again by itself; None where it is not.
    """

    task_id: str
    name: str
    downloaded: Downloaded | None = None
    error: ErrorValue | None = None
    retry_in: float | None = None


class Interrupted(Value, frozen=True, kw_only=True, tag=True):
    """The connection to the engine broke; it is tried again in ``retryIn`` seconds."""

    error: ErrorValue
    retry_in: float


DownloadEvent = DownloadProgress | Outcome | Interrupted
OnDownload = Callable[[DownloadEvent], None]
"""Called on the loop that runs the download; must not block."""


class Downloads:
    """The results of one subject, on their way into one folder."""

    def __init__(self, client: Client, folder: Path, state: DownloadState, *, clock: Clock | None = None) -> None:
        """Raises :class:`UsageError` where the folder's name is not valid Unicode."""

    async def fetch(self, task_id: str, *, progress: Progress | None = None, again: bool = False) -> Downloaded:
        """The result of a DONE task. One that is there already is not transferred anew, unless ``again``.

        Raises :class:`ResultExpiredError`, :class:`ResultGoneError`, :class:`ConflictError` where there is no file
        to fetch, :class:`DownloadError` where what came is not what the task made, :class:`ContainerError` where
        its signature does not hold, :class:`StorageError`.
        """
        raise NotImplementedError

    async def pending(self) -> tuple[Task, ...]:
        """My DONE tasks whose file was not fetched, oldest first.

        Those EXPIRED or GONE (``task.result.state``) are among them until they were told of by :meth:`fetch_all`
        or :meth:`run`, and again after a renewal.
        """
        raise NotImplementedError

    async def fetch_all(self, on_event: OnDownload | None = None) -> tuple[Outcome, ...]:
        """Each pending one, oldest first; what fails is in the outcomes and keeps none from the others."""
        raise NotImplementedError

    async def run(self, on_event: OnDownload) -> None:
        """Fetches what is pending, then each task of mine as it is DONE, until cancelled."""
        raise NotImplementedError
