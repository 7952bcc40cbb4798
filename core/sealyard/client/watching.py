"""A watch folder: files dropped there become packages, offered or submitted."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from sealyard.client.protocol import Client
from sealyard.model.clock import Clock
from sealyard.model.errors import ErrorValue
from sealyard.model.tasks import Task
from sealyard.model.value import Value


class Rule(StrEnum):
    """What becomes of a file that is ready."""

    OFFER = "offer"
    SUBMIT = "submit"


class Offer(Value, frozen=True, kw_only=True, tag=True):
    """One package that could be made. Paths are absolute; ``name``: of the file or sub-folder that was dropped."""

    name: str
    path: str
    device: str
    firmware: tuple[str, ...]
    metadata: tuple[str, ...] = ()


class Submitted(Value, frozen=True, kw_only=True, tag=True):
    """A task was made of what was dropped."""

    offer: Offer
    task: Task


class Refused(Value, frozen=True, kw_only=True, tag=True):
    """What was dropped cannot become a package; it is not tried again until it changes."""

    name: str
    path: str
    error: ErrorValue


class Postponed(Value, frozen=True, kw_only=True, tag=True):
    """Not the fault of what was dropped (disk, connection, lock): it is tried again in ``retryIn`` seconds."""

    name: str
    path: str
    error: ErrorValue
    retry_in: float


WatchEvent = Offer | Submitted | Refused | Postponed
OnWatch = Callable[[WatchEvent], None]
"""Called on the loop that runs the watch; must not block."""


class WatchFolder:
    """Watches one folder for one device configuration."""

    def __init__(
        self,
        client: Client,
        folder: Path,
        device: str,
        on_event: OnWatch,
        *,
        state: Path,
        rule: Rule = Rule.OFFER,
        settle: float = 2.0,
        force_polling: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """``state``: a file as :func:`watch_state_file` says; ``settle``: seconds a file must lie unchanged.

        ``force_polling``: for network folders, where the system tells of no changes.
        Raises :class:`UsageError` where the folder's name is not valid Unicode.
        """

    async def run(self) -> None:
        """Takes what is there and what comes, until cancelled.

        Raises :class:`InputError` where the folder is not there (any more), :class:`NotFoundError` or
        :class:`NotAllowedError` for the device configuration.
        """
        raise NotImplementedError

    async def submit(self, offer: Offer) -> Task:
        """Makes the task of an offer; once, however often it is asked."""
        raise NotImplementedError

    async def dismiss(self, offer: Offer) -> None:
        """The offer is not made again until the files change."""
        raise NotImplementedError


def watch_state_file(workspace_id: str, subject: str, folder: Path) -> Path:
    """Where is remembered what was taken from ``folder`` (platformdirs' ``user_state_dir``)."""
    raise NotImplementedError
