"""The watcher of a watch folder, which proposes or submits packages of the files that users drop into it.

:mod:`sealyard.client.watch_folder.scan` defines which entries become packages and which are ignored. Each entry is
processed once: the state file records it by name, size, modification time and digest. The task's client token is
derived from the folder, name and digests, so that a crash between submitting a task and recording it does not create a
second task. Entries that were dropped before the watcher starts are processed as well.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import UNSET

from sealyard.client.config.settings import DEFAULT_SETTLE_SECONDS, DropAction
from sealyard.client.config.state_file import StateFile, state_path
from sealyard.client.downloads.files import resolve_dir
from sealyard.client.downloads.history import DownloadHistory
from sealyard.client.protocol import Client
from sealyard.client.source_paths import SourcePaths
from sealyard.client.watch_folder.changes import wait_for_change, watch_changes
from sealyard.client.watch_folder.events import (
    PERMANENT_ERRORS,
    DropDeferred,
    DropRejected,
    DropSubmitted,
    PackageProposal,
    WatchCallback,
    WatchEvent,
)
from sealyard.client.watch_folder.scan import DroppedEntry, content_digest, entry_digest, find_open_file, scan
from sealyard.concurrency.backoff import RetryDelays
from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import run_cancellable
from sealyard.fs.hashing import path_sha256
from sealyard.model.base import FrozenStruct
from sealyard.model.clock import Clock
from sealyard.model.errors import ConflictError, InvalidInputError, SealyardError, StorageError, UsageError
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

RESCAN_SECONDS = 30.0
"""Seconds after which the folder is scanned even without a change event, for file systems that report no changes."""

RETRY_DELAYS = RetryDelays.exponential(5.0, 300.0)
"""Delays before consecutive retries of an entry whose processing was deferred."""

log = logging.getLogger(__name__)


class _ProcessedEntry(FrozenStruct, frozen=True, kw_only=True):
    """An entry that has been processed. ``task_id`` is None if its proposal was dismissed."""

    fingerprint: str
    digest: str
    task_id: str | None


class _WatchState(FrozenStruct, frozen=True, kw_only=True):
    """The contents of the state file: the processed entries by ``<configuration id>/<entry name>``."""

    processed_entries: dict[str, _ProcessedEntry] = msgspec.field(default_factory=dict, name="taken")


class _WaitingEntry(FrozenStruct, frozen=True, kw_only=True):
    """An entry to process at the time ``due``. ``failures``: failed attempts since the entry last changed."""

    fingerprint: str
    due: datetime
    failures: int = 0


class FolderWatcher:
    """Watches one folder and proposes or submits its entries as packages for one device configuration."""

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
        rule: DropAction = DropAction.PROPOSE,
        settle: float = DEFAULT_SETTLE_SECONDS,
        force_polling: bool = False,
        justification: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Prepare to watch ``folder`` for the configuration ``device``, with the state file ``state``.

        ``state`` is usually :func:`watch_state_file`, ``rule`` the action for an entry that is ready, and ``settle``
        the number of seconds that an entry must remain unchanged before it is processed. ``force_polling`` is for
        folders of which the system does not report changes; most network folders are detected. ``downloads`` is the
        folder for results; files that are recorded as results in ``downloaded`` are ignored. ``justification``: of all
        packages that are created.

        Raises :class:`UsageError` if the folder's name is not valid Unicode or results would be downloaded into it, and
        :class:`StorageError` if the state file cannot be read.
        """
        self._client = client
        self._folder = resolve_dir(folder)
        if downloads is not None:
            _require_separate_dirs(self._folder, downloads)
        self._history = downloaded
        self._device = device
        self._on_event = on_event
        self._state_file = StateFile(state, _WatchState())
        self._state = self._state_file.read()
        self._save_warning = self._check_state_file()
        self._action = rule
        self._settle = settle
        self._force_polling = force_polling
        self._justification = justification
        self._clock = clock or SystemClock()
        self._config_id = ""
        self._waiting_entries: dict[str, _WaitingEntry] = {}
        self._handled_fingerprints: dict[str, str] = {}
        self._open_names: set[str] = set()

    @property
    def warning(self) -> str:
        """Message for the user: the state file cannot be written, or was damaged and renamed; else empty."""
        return self._save_warning or self._state_file.warning

    async def run(self) -> None:
        """Process existing and new entries until cancelled.

        Raises :class:`InvalidInputError` if the folder does not exist, is removed or cannot be watched, and
        :class:`NotFoundError` or :class:`PermissionDeniedError` if the device configuration is not available.
        """
        await self._resolve_config()
        change_event = asyncio.Event()
        watch_task = asyncio.create_task(
            watch_changes(self._folder, change_event, self._clock, force_polling=self._force_polling)
        )
        try:
            while True:
                change_event.clear()
                due_in = await self.scan_once()
                wait_seconds = RESCAN_SECONDS if due_in is None else min(due_in, RESCAN_SECONDS)
                await wait_for_change(change_event, wait_seconds, watch_task, self._clock)
        finally:
            watch_task.cancel()
            await asyncio.gather(watch_task, return_exceptions=True)

    async def scan_once(self) -> float | None:
        """Process the entries that are ready now.

        Returns the number of seconds until the next entry may be ready, or None if no entry is waiting.
        """
        entries = await run_cancellable(lambda _: scan(self._folder))
        names = {entry.name for entry in entries}
        self._waiting_entries = {
            name: waiting_entry for name, waiting_entry in self._waiting_entries.items() if name in names
        }
        self._handled_fingerprints = {
            name: fingerprint for name, fingerprint in self._handled_fingerprints.items() if name in names
        }
        self._open_names &= names
        for entry in entries:
            await self._process(entry)
        if not self._waiting_entries:
            return None
        due = min(waiting_entry.due for waiting_entry in self._waiting_entries.values())
        return max(0.0, (due - self._clock.now()).total_seconds())

    async def submit(self, proposal: PackageProposal) -> Task:
        """Upload the files of a proposal and create its task. Repeated calls create only one task.

        Raises :class:`InvalidInputError` if the files have changed since the proposal, and any error of
        :meth:`Client.upload` and :meth:`Client.create_package`.
        """
        uploads: list[InputFile] = []
        try:
            for path in (*proposal.firmware, *proposal.metadata):
                # No comprehension: if an upload fails, the files uploaded before it have to be discarded.
                uploads.append(await self._client.upload(Path(path)))  # noqa: PERF401
            await self._require_unchanged(proposal)
            firmware, metadata = tuple(uploads[: len(proposal.firmware)]), tuple(uploads[len(proposal.firmware) :])
            digest = content_digest(proposal.name, _names_and_digests(firmware), _names_and_digests(metadata))
            task = await self._client.create_package(
                PackageRequest(
                    config=proposal.device,
                    firmware=firmware,
                    metadata=metadata,
                    name=proposal.name,
                    justification=self._justification or UNSET,
                    client_token=self._compute_client_token(proposal, digest),
                )
            )
        except SealyardError:
            await self._client.discard_uploads(tuple(uploads))
            raise
        paths = map(Path, (*proposal.firmware, *proposal.metadata))
        sources = {file.sha256: path for file, path in zip(uploads, paths, strict=True)}
        await asyncio.to_thread(SourcePaths().remember, sources)
        await self._record_processed(proposal, digest, task.id)
        return task

    async def dismiss(self, proposal: PackageProposal) -> None:
        """Dismiss a proposal. The entry is not proposed again until its files change.

        Raises :class:`InvalidInputError` if the files have changed since the proposal or cannot be read.
        """
        entry = await self._require_unchanged(proposal)
        await self._record_processed(proposal, await self._compute_digest(entry), None)

    # ---- process one entry

    async def _process(self, entry: DroppedEntry) -> None:
        processed_entry = self._state.processed_entries.get(f"{await self._resolve_config()}/{entry.name}")
        is_recorded = processed_entry is not None and processed_entry.fingerprint == entry.fingerprint
        if is_recorded or self._handled_fingerprints.get(entry.name) == entry.fingerprint:
            self._waiting_entries.pop(entry.name, None)
            return
        if not entry.ready and not entry.problem:
            self._waiting_entries.pop(entry.name, None)
            return
        waiting_entry = self._waiting_entries.get(entry.name)
        if waiting_entry is None or waiting_entry.fingerprint != entry.fingerprint:
            self._schedule(entry, self._settle)
        elif self._clock.now() >= waiting_entry.due and not await self._defer_while_open(entry):
            await self._propose_or_submit(entry, processed_entry, waiting_entry)

    async def _defer_while_open(self, entry: DroppedEntry) -> bool:
        """Defer ``entry`` if a program has one of its files open for writing, and return whether that is the case.

        Reported only once, until no file of the entry is open.
        """
        open_file = await run_cancellable(lambda _: find_open_file(entry))
        if not open_file:
            self._open_names.discard(entry.name)
            return False
        self._schedule(entry, self._settle)
        if entry.name not in self._open_names:
            self._open_names.add(entry.name)
            error = ConflictError(
                f"A program has {escape_text(open_file)} open for writing.", "Wait until the file is complete."
            )
            self._on_event(DropDeferred(name=entry.name, path=entry.path, error=error.to_info(), retry_in=self._settle))
        return True

    async def _propose_or_submit(
        self, entry: DroppedEntry, processed_entry: _ProcessedEntry | None, waiting_entry: _WaitingEntry
    ) -> None:
        try:
            event = await self._create_event(entry, processed_entry)
        except PERMANENT_ERRORS as error:
            if await self._find_entry(entry.name) != entry:
                self._schedule(entry, self._settle)
                return
            event = DropRejected(name=entry.name, path=entry.path, error=error.to_info())
        except SealyardError as error:
            failures = waiting_entry.failures + 1
            delay = RETRY_DELAYS.delay_after(failures)
            self._schedule(entry, delay, failures)
            self._on_event(DropDeferred(name=entry.name, path=entry.path, error=error.to_info(), retry_in=delay))
            return
        self._waiting_entries.pop(entry.name, None)
        self._handled_fingerprints[entry.name] = entry.fingerprint
        if event is not None:
            self._on_event(event)

    async def _create_event(self, entry: DroppedEntry, processed_entry: _ProcessedEntry | None) -> WatchEvent | None:
        """Return the event for an entry that has settled. With the action SUBMIT, submit the entry first.

        Returns None if the entry is a downloaded result, or if it was processed before and its content has not changed.
        """
        if entry.problem:
            raise InvalidInputError(
                f"Cannot create a package from {entry.name}. {entry.problem}", "Fix it in the watch folder."
            )
        if await self._is_downloaded_result(entry):
            return None
        proposal = PackageProposal(
            name=entry.name,
            path=entry.path,
            device=await self._resolve_config(),
            firmware=entry.firmware,
            metadata=entry.metadata,
            fingerprint=entry.fingerprint,
        )
        if processed_entry is not None and await self._compute_digest(entry) == processed_entry.digest:
            await self._record_processed(proposal, processed_entry.digest, processed_entry.task_id)
            return None
        if self._action is DropAction.PROPOSE:
            return proposal
        return DropSubmitted(proposal=proposal, task=await self.submit(proposal))

    def _schedule(self, entry: DroppedEntry, delay: float, failures: int = 0) -> None:
        due = self._clock.now() + timedelta(seconds=delay)
        self._waiting_entries[entry.name] = _WaitingEntry(fingerprint=entry.fingerprint, due=due, failures=failures)

    async def _is_downloaded_result(self, entry: DroppedEntry) -> bool:
        if self._history is None or len(entry.firmware) != 1 or entry.metadata:
            return False
        path = Path(entry.firmware[0])
        await asyncio.to_thread(self._history.refresh)
        try:
            digests = self._history.digests_of_size(path.stat().st_size)
            return bool(digests) and await run_cancellable(lambda check: path_sha256(path, check)) in digests
        except OSError as error:
            raise _unreadable_error(entry, error) from error

    async def _compute_digest(self, entry: DroppedEntry) -> str:
        try:
            return await run_cancellable(lambda check: entry_digest(entry, check))
        except OSError as error:
            raise _unreadable_error(entry, error) from error

    async def _find_entry(self, name: str) -> DroppedEntry | None:
        entries = await run_cancellable(lambda _: scan(self._folder))
        return next((entry for entry in entries if entry.name == name), None)

    async def _require_unchanged(self, proposal: PackageProposal) -> DroppedEntry:
        entry = await self._find_entry(proposal.name)
        if entry is None or entry.fingerprint != proposal.fingerprint:
            raise InvalidInputError(f"{proposal.name} changed since it was proposed.", "Wait for the new proposal.")
        return entry

    async def _record_processed(self, proposal: PackageProposal, digest: str, task_id: str | None) -> None:
        processed = _ProcessedEntry(fingerprint=proposal.fingerprint, digest=digest, task_id=task_id)

        def add_processed(state: _WatchState) -> _WatchState:
            key = f"{proposal.device}/{proposal.name}"
            return _WatchState(processed_entries={**state.processed_entries, key: processed})

        try:
            self._state = await asyncio.to_thread(self._state_file.update, add_processed)
        except StorageError as error:
            # The entry is processed all the same; after a restart, its client token prevents a second task.
            log.warning("cannot record %s as processed: %s", escape_text(proposal.name), error)
            self._state = add_processed(self._state)

    def _check_state_file(self) -> str:
        """Return a warning if the state file cannot be written; empty if it can."""
        try:
            self._state_file.update(lambda state: state)
        except StorageError as error:
            return f"Dropped files are proposed again after a restart. {error}"
        return ""

    async def _resolve_config(self) -> str:
        """Return the id of the device configuration, which is loaded on the first call.

        Processed entries are recorded under the id, because another configuration may get the same name later.
        """
        if not self._config_id:
            self._config_id = (await self._client.device(self._device)).id
        return self._config_id

    def _compute_client_token(self, proposal: PackageProposal, digest: str) -> str:
        parts = ("watch", str(self._folder), proposal.device, digest)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def watch_state_file(workspace_id: str, subject: str, folder: Path) -> Path:
    """Return the path of the state file for ``folder``, in platformdirs' ``user_state_dir``."""
    return state_path("watch", workspace_id, subject, str(folder.absolute()))


def _require_separate_dirs(folder: Path, downloads: Path) -> None:
    download_dir, watched_dir = downloads.resolve(), folder.resolve()
    if watched_dir in (download_dir, *download_dir.parents):
        raise UsageError(
            f"{escape_text(str(folder))} contains the download folder: results would be packaged again.",
            "Watch another folder, or change the download folder.",
        )


def _unreadable_error(entry: DroppedEntry, error: OSError) -> InvalidInputError:
    return InvalidInputError(f"Cannot read {entry.name} ({error.strerror}).", "Check the file.")


def _names_and_digests(files: tuple[InputFile, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((file.name, file.sha256) for file in files)
