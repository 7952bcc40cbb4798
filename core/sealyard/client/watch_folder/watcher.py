"""A watch folder: files dropped there become packages, offered or submitted.

What makes a package, and what is left alone, is said in :mod:`sealyard.client.watch_folder.scan`. Each drop is taken
once: what was taken is remembered by name, size, time of change and digest, and the task's client token follows from
folder, name and digests, so that a crash between submitting and remembering makes no second task. What was dropped
before the start is taken too.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.client.downloads.files import resolve_dir
from sealyard.client.downloads.history import DownloadHistory
from sealyard.client.protocol import Client
from sealyard.client.watch_folder.events import (
    PERMANENT_ERRORS,
    DropAction,
    DropDeferred,
    DropRejected,
    DropSubmitted,
    PackageProposal,
    WatchCallback,
    WatchEvent,
)
from sealyard.client.watch_folder.scan import (
    DroppedEntry,
    content_digest,
    entry_digest,
    has_unreadable_dirs,
    scan,
    sha256_file,
)
from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import run_cancellable
from sealyard.model.base import FrozenStruct
from sealyard.model.clock import Clock
from sealyard.model.errors import (
    InvalidInputError,
    SealyardError,
    UsageError,
)
from sealyard.model.requests import PackageRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task

__all__ = [
    "DropAction",
    "DropDeferred",
    "DropRejected",
    "DropSubmitted",
    "FolderWatcher",
    "PackageProposal",
    "WatchCallback",
    "WatchEvent",
    "watch_state_file",
]

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0
STEP_MILLISECONDS = 200
POLL_INTERVAL = 2.0
"""Between two looks where the system does not tell of changes."""


class _Processed(FrozenStruct, frozen=True, kw_only=True):
    """``task_id`` is None for an offer that was dismissed."""

    fingerprint: str
    digest: str
    task_id: str | None


class _WatchState(FrozenStruct, frozen=True, kw_only=True):
    """By configuration id and name of the drop."""

    taken: dict[str, _Processed] = msgspec.field(default_factory=dict)


class _Waiting(FrozenStruct, frozen=True, kw_only=True):
    """Looked at again at ``due``; ``pause`` (seconds) is the next one, should it fail then."""

    fingerprint: str
    due: datetime
    pause: float = FIRST_PAUSE


class FolderWatcher:
    """Watches one folder for one device configuration."""

    def __init__(
        self,
        client: Client,
        folder: Path,
        device: str,
        on_event: WatchCallback,
        *,
        state: Path,
        downloads: Path | None = None,
        downloaded: DownloadHistory | None = None,
        rule: DropAction = DropAction.OFFER,
        settle: float = 2.0,
        force_polling: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """``state``: a file as :func:`watch_state_file` says; ``settle``: seconds a drop must lie unchanged.

        ``force_polling``: for network folders, where the system tells of no changes.
        ``downloads``: where results go; what ``downloaded`` knows as a result is left alone.
        Raises :class:`UsageError` where the folder's name is not valid Unicode or results would arrive in it,
        :class:`StorageError`.
        """
        self._client = client
        self._folder = resolve_dir(folder)
        if downloads is not None:
            _require_separate_dirs(self._folder, downloads)
        self._downloaded = downloaded
        self._device = device
        self._on_event = on_event
        self._file = StateFile(state, _WatchState())
        self._memory = self._file.read()
        self._rule = rule
        self._settle = settle
        self._force_polling = force_polling
        self._clock = clock or SystemClock()
        self._config_id = ""
        self._waiting: dict[str, _Waiting] = {}
        self._answered: dict[str, str] = {}

    @property
    def warning(self) -> str:
        """What a person should know: that a damaged memory was set aside, and where. Else empty."""
        return self._file.warning

    async def run(self) -> None:
        """Takes what is there and what comes, until cancelled.

        Raises :class:`InvalidInputError` where the folder is not there (any more) or cannot be watched,
        :class:`NotFoundError` or :class:`PermissionDeniedError` for the device configuration.
        """
        await self._config()
        stirred = asyncio.Event()
        listening = asyncio.create_task(self._listen(stirred))
        try:
            while True:
                stirred.clear()
                pause = await self.scan_once()
                await self._until(stirred.wait(), pause, listening)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def scan_once(self) -> float | None:
        """Takes what is ready now. Seconds until something else may be; None where nothing waits."""
        found = await run_cancellable(lambda _: scan(self._folder))
        names = {drop.name for drop in found}
        self._waiting = {name: each for name, each in self._waiting.items() if name in names}
        self._answered = {name: each for name, each in self._answered.items() if name in names}
        for drop in found:
            await self._process(drop)
        if not self._waiting:
            return None
        due = min(each.due for each in self._waiting.values())
        return max(0.0, (due - self._clock.now()).total_seconds())

    async def submit(self, offer: PackageProposal) -> Task:
        """Makes the task of an offer; one, however often it is asked.

        Raises :class:`InvalidInputError` where the files changed since the offer, and what uploading and creating
        raise.
        """
        uploaded: list[InputFile] = []
        try:
            for path in (*offer.firmware, *offer.metadata):
                uploaded.append(await self._client.upload(Path(path)))  # noqa: PERF401 - what came before a failure is given back
            await self._require_unchanged(offer)
            firmware, metadata = tuple(uploaded[: len(offer.firmware)]), tuple(uploaded[len(offer.firmware) :])
            digest = content_digest(offer.name, _digests(firmware), _digests(metadata))
            task = await self._client.create_package(
                PackageRequest(
                    config=offer.device,
                    firmware=firmware,
                    metadata=metadata,
                    name=offer.name,
                    client_token=self._token(offer, digest),
                )
            )
        except SealyardError:
            await self._client.discard_uploads(tuple(uploaded))
            raise
        await self._remember(offer, digest, task.id)
        return task

    async def dismiss(self, offer: PackageProposal) -> None:
        """The offer is not made again until the files change. Raises :class:`InvalidInputError`,
        :class:`StorageError`.
        """
        drop = await self._require_unchanged(offer)
        await self._remember(offer, await self._digest(drop), None)

    # ---- one drop

    async def _process(self, drop: DroppedEntry) -> None:
        taken = self._memory.taken.get(f"{await self._config()}/{drop.name}")
        if self._answered.get(drop.name) == drop.fingerprint or (taken and taken.fingerprint == drop.fingerprint):
            self._waiting.pop(drop.name, None)
            return
        if not drop.ready and not drop.problem:
            self._waiting.pop(drop.name, None)
            return
        waiting = self._waiting.get(drop.name)
        if waiting is None or waiting.fingerprint != drop.fingerprint:
            self._wait(drop, self._settle)
        elif self._clock.now() >= waiting.due:
            await self._propose_or_submit(drop, taken, waiting)

    async def _propose_or_submit(self, drop: DroppedEntry, taken: _Processed | None, waiting: _Waiting) -> None:
        try:
            event = await self._emit(drop, taken)
        except PERMANENT_ERRORS as error:
            if await self._now(drop.name) != drop:
                self._wait(drop, self._settle)
                return
            event = DropRejected(name=drop.name, path=drop.path, error=error.to_info())
        except SealyardError as error:
            self._wait(drop, waiting.pause, then=min(2 * waiting.pause, LONGEST_PAUSE))
            self._on_event(DropDeferred(name=drop.name, path=drop.path, error=error.to_info(), retry_in=waiting.pause))
            return
        self._waiting.pop(drop.name, None)
        self._answered[drop.name] = drop.fingerprint
        if event is not None:
            self._on_event(event)

    async def _emit(self, drop: DroppedEntry, taken: _Processed | None) -> WatchEvent | None:
        """None for content that was taken before and only touched since, and for a result that was downloaded."""
        if drop.problem:
            raise InvalidInputError(
                f"{drop.name} cannot become a package. {drop.problem}", "Put it right in the folder."
            )
        if await self._is_result(drop):
            return None
        offer = PackageProposal(
            name=drop.name,
            path=drop.path,
            device=await self._config(),
            firmware=drop.firmware,
            metadata=drop.metadata,
            fingerprint=drop.fingerprint,
        )
        if taken is not None and await self._digest(drop) == taken.digest:
            await self._remember(offer, taken.digest, taken.task_id)
            return None
        if self._rule is DropAction.OFFER:
            return offer
        return DropSubmitted(offer=offer, task=await self.submit(offer))

    def _wait(self, drop: DroppedEntry, seconds: float, *, then: float = FIRST_PAUSE) -> None:
        due = self._clock.now() + timedelta(seconds=seconds)
        self._waiting[drop.name] = _Waiting(fingerprint=drop.fingerprint, due=due, pause=then)

    async def _is_result(self, drop: DroppedEntry) -> bool:
        if self._downloaded is None or len(drop.firmware) != 1 or drop.metadata:
            return False
        path = drop.firmware[0]
        await asyncio.to_thread(self._downloaded.refresh)
        try:
            known = self._downloaded.digests_of_size(Path(path).stat().st_size)
            return bool(known) and await run_cancellable(lambda go_on: sha256_file(path, go_on)) in known
        except OSError as error:
            raise _unreadable(drop, error) from error

    async def _digest(self, drop: DroppedEntry) -> str:
        try:
            return await run_cancellable(lambda go_on: entry_digest(drop, go_on))
        except OSError as error:
            raise _unreadable(drop, error) from error

    async def _now(self, name: str) -> DroppedEntry | None:
        found = await run_cancellable(lambda _: scan(self._folder))
        return next((drop for drop in found if drop.name == name), None)

    async def _require_unchanged(self, offer: PackageProposal) -> DroppedEntry:
        drop = await self._now(offer.name)
        if drop is None or drop.fingerprint != offer.fingerprint:
            raise InvalidInputError(f"{offer.name} changed since it was offered.", "Wait for the new offer.")
        return drop

    async def _remember(self, offer: PackageProposal, digest: str, task_id: str | None) -> None:
        taken = _Processed(fingerprint=offer.fingerprint, digest=digest, task_id=task_id)
        self._memory = await asyncio.to_thread(
            self._file.update, lambda memory: _WatchState(taken={**memory.taken, f"{offer.device}/{offer.name}": taken})
        )

    async def _config(self) -> str:
        """The configuration's id: its name may be given to another one day."""
        if not self._config_id:
            self._config_id = (await self._client.device(self._device)).id
        return self._config_id

    def _token(self, offer: PackageProposal, digest: str) -> str:
        parts = ("watch", str(self._folder), offer.device, digest)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    # ---- hearing of changes

    async def _listen(self, stirred: asyncio.Event) -> None:
        """The system tells of nothing, or of a part only, where one folder in it is closed: then it is looked at."""
        while True:
            try:
                await self._hear(stirred)
            except (OSError, RuntimeError, ExceptionGroup) as error:  # its own errors are RuntimeErrors
                if not await run_cancellable(lambda go_on: has_unreadable_dirs(self._folder, go_on)):
                    raise InvalidInputError(
                        f"Changes in {self._folder} cannot be watched ({_innermost(error)}).",
                        "See that the folder is there; where the system cannot tell of changes, watch by polling.",
                    ) from error
            await self._clock.sleep(POLL_INTERVAL)
            stirred.set()

    async def _hear(self, stirred: asyncio.Event) -> None:
        from watchfiles import awatch

        polling = True if self._force_polling else None
        async for _ in awatch(
            self._folder, watch_filter=None, step=STEP_MILLISECONDS, force_polling=polling, recursive=True
        ):
            stirred.set()

    async def _until(
        self, stir: Coroutine[Any, Any, Any], seconds: float | None, listening: asyncio.Task[None]
    ) -> None:
        """Until something stirs or the time is over. Raises what ended the listening."""
        waits: set[asyncio.Task[Any]] = {asyncio.create_task(stir)}
        if seconds is not None:
            waits.add(asyncio.create_task(self._clock.sleep(seconds)))
        try:
            await asyncio.wait({*waits, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if listening.done():
            listening.result()


def watch_state_file(workspace_id: str, subject: str, folder: Path) -> Path:
    """Where is remembered what was taken from ``folder`` (platformdirs' ``user_state_dir``)."""
    return state_path("watch", workspace_id, subject, str(folder.absolute()))


def _require_separate_dirs(folder: Path, downloads: Path) -> None:
    arriving, watched = downloads.resolve(), folder.resolve()
    if watched in (arriving, *arriving.parents):
        raise UsageError(
            f"Results are downloaded into {escape_text(str(folder))}; watched, they would be packed again.",
            "Watch another folder, or download elsewhere.",
        )


def _innermost(error: Exception) -> Exception:
    """What the thread of the watching raises comes wrapped."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _unreadable(drop: DroppedEntry, error: OSError) -> InvalidInputError:
    return InvalidInputError(f"{drop.name} cannot be read ({error.strerror}).", "Check the file.")


def _digests(files: tuple[InputFile, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((each.name, each.sha256) for each in files)
