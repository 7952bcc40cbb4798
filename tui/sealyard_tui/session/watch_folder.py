"""The watch folder of the current identity: its watcher, and the dropped files and folders for the upload screen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from textual.app import App

from sealyard.client.config.settings_loader import WatchFolderSettings
from sealyard.client.config.state_file import StateFile, state_path
from sealyard.client.protocol import Client
from sealyard.client.watch_folder.events import PERMANENT_ERRORS, DropSubmitted, PackageProposal, WatchEvent
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.model.access import Action, device_resource
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import (
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    SealyardError,
    ServerUnreachableError,
    StorageError,
)
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard_tui.session.messages import WatchFolderUpdate
from sealyard_tui.session.state import SessionState

if TYPE_CHECKING:
    from sealyard.client.watch_folder.watcher import FolderWatcher

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.3
"""Proposals within this many seconds are combined into one notification."""


class WatchRunner:
    """A folder watcher for one identity, which runs on a separate thread until it is stopped."""

    def __init__(
        self,
        client: Client,
        settings: WatchFolderSettings,
        workspace_id: str,
        subject: str,
        post: Callable[[WatchFolderUpdate], object],
    ) -> None:
        """Prepare the watcher. ``post``: receives its events and errors; may be called from any thread."""
        self._client = client
        self._settings = settings
        self._workspace_id = workspace_id
        self._subject = subject
        self._post = post
        self._thread = LoopThread("sealyard-watch")
        self._watcher: FolderWatcher | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, downloads: Path | None) -> str:
        """Start watching, and return a warning for the user or an empty string.

        ``downloads``: the download folder, which must be outside the watched folder.
        Raises the errors of :class:`FolderWatcher`.
        """
        from sealyard.client.downloads.history import DownloadHistory, default_history_path
        from sealyard.client.watch_folder.watcher import FolderWatcher, watch_state_file

        def post(event: WatchEvent) -> None:
            self._post(WatchFolderUpdate(event))

        async def open_watcher() -> FolderWatcher:
            path = Path(self._settings.folder).expanduser()
            return FolderWatcher(
                self._client,
                path,
                self._settings.device,
                post,
                state=watch_state_file(self._workspace_id, self._subject, path),
                downloads=downloads,
                downloaded=DownloadHistory(default_history_path(self._workspace_id, self._subject)),
                rule=self._settings.on_drop,
                settle=self._settings.settle,
                force_polling=self._settings.force_polling,
                justification=self._settings.justification,
            )

        self._watcher = await self._thread.call(open_watcher())
        self._task = asyncio.create_task(self._run(self._watcher))
        return self._watcher.warning

    async def submit(self, proposal: PackageProposal) -> Task:
        """Create a task from a proposal. Raises the errors of :meth:`FolderWatcher.submit`."""
        assert self._watcher is not None
        return await self._thread.call(self._watcher.submit(proposal))

    async def dismiss(self, proposal: PackageProposal) -> None:
        """Dismiss a proposal. Raises the errors of :meth:`FolderWatcher.dismiss`."""
        assert self._watcher is not None
        await self._thread.call(self._watcher.dismiss(proposal))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.stop)

    async def _run(self, watcher: FolderWatcher) -> None:
        try:
            await self._thread.call(watcher.run())
        except SealyardError as error:
            self._post(WatchFolderUpdate(None, error))
        except Exception:
            log.exception("the watch folder crashed")
            internal_error = SealyardError("Internal error.", "See the log for details.")
            self._post(WatchFolderUpdate(None, internal_error))


class WatchState(StrEnum):
    """State of the watch folder: not watched, watched, or failed."""

    OFF = "off"
    WATCHING = "watching"
    FAILED = "failed"


class DropStatus(FrozenStruct, frozen=True, kw_only=True):
    """The latest event of one dropped file or folder, and the time of that event.

    ``invalid_reason``: why the proposal has become invalid; otherwise empty.
    """

    name: str
    at: datetime
    event: WatchEvent
    invalid_reason: str = ""

    @property
    def proposal(self) -> PackageProposal | None:
        """The proposal; None if the latest event is not a proposal or the proposal is no longer valid."""
        return self.event if isinstance(self.event, PackageProposal) and not self.invalid_reason else None


class _Override(FrozenStruct, frozen=True, kw_only=True):
    """Settings chosen at run time. They apply until the settings that they replace change in the settings file."""

    settings: WatchFolderSettings = WatchFolderSettings()
    replaces: WatchFolderSettings | None = None


class WatchFolderManager:
    """Manager of the watch folder of the current identity. It keeps the latest event of each dropped file or folder."""

    def __init__(
        self,
        app: App[Any],
        defaults: WatchFolderSettings,
        *,
        state: Callable[[], SessionState],
        now: Callable[[], datetime],
        alert: Callable[[str], None],
        download_dir: Path | None,
        on_change: Callable[[], None],
    ) -> None:
        """Prepare the manager; :meth:`start` starts watching.

        ``defaults``: the settings from the settings file. ``download_dir``: the download folder, which must be
        outside the watched folder.
        """
        self.settings = defaults
        self.state = WatchState.OFF
        self.error: SealyardError | None = None
        self._app = app
        self._defaults = defaults
        self._session_state = state
        self._now = now
        self._alert = alert
        self._download_dir = download_dir
        self._on_change = on_change
        self._client: Client | None = None
        self._dropped: dict[str, DropStatus] = {}
        self._runner: WatchRunner | None = None
        self._new_proposals = 0
        self._notification_scheduled = False
        self._lock = asyncio.Lock()

    @property
    def dropped(self) -> list[DropStatus]:
        """The status of each dropped file or folder, most recent first."""
        return sorted(self._dropped.values(), key=lambda entry: entry.at, reverse=True)

    @property
    def proposals(self) -> list[PackageProposal]:
        return [entry.proposal for entry in self._dropped.values() if entry.proposal is not None]

    async def start(self, client: Client) -> None:
        """Start watching, or restart if the watcher stopped because the connection was lost.

        Settings that the user chose at run time take precedence over those in the settings file.
        """
        if self._client is not None and isinstance(self.error, ServerUnreachableError):
            await self._restart_runner()
        if self._client is not None or not self._session_state().can_write:
            return
        self._client = client
        self.settings = await asyncio.to_thread(self._effective_settings)
        await self._restart_runner()

    async def stop(self) -> None:
        async with self._lock:
            await self._stop_runner()
            self._client = None
            self._dropped.clear()

    async def configure(self, settings: WatchFolderSettings) -> None:
        """Save ``settings``, and restart watching with them; an empty folder disables watching.

        If the settings cannot be saved, they apply only until the application exits.
        """
        override = _Override(settings=settings, replaces=self._defaults)
        try:
            await asyncio.to_thread(self._override_file().update, lambda _: override)
        except StorageError as error:
            self._app.notify(escape_text(str(error)), severity="warning", markup=False)
        self.settings = settings
        self._dropped.clear()
        await self._restart_runner()

    def on_event(self, update: WatchFolderUpdate) -> None:
        if update.error is not None:
            self._fail(update.error)
            return
        assert update.event is not None
        name = update.event.proposal.name if isinstance(update.event, DropSubmitted) else update.event.name
        self._record(name, update.event)
        self._new_proposals += isinstance(update.event, PackageProposal)
        if not self._notification_scheduled:
            self._notification_scheduled = True
            self._app.set_timer(BATCH_SECONDS, self._notify_new_proposals)

    async def submit(self, proposal: PackageProposal) -> Task:
        """Create a task from a proposal. If the proposal is rejected, mark it as invalid.

        Raises the errors of :meth:`FolderWatcher.submit`.
        """
        with self._invalidate_on_error(proposal):
            task = await self._active_runner().submit(proposal)
        self._record(proposal.name, DropSubmitted(proposal=proposal, task=task))
        return task

    async def dismiss(self, proposal: PackageProposal) -> None:
        """Dismiss a proposal, and remove it from the list. If its files have changed, mark it as invalid instead.

        Raises the errors of :meth:`FolderWatcher.dismiss`.
        """
        with self._invalidate_on_error(proposal):
            await self._active_runner().dismiss(proposal)
        self.forget(proposal.name)

    def forget(self, name: str) -> None:
        """Remove an entry from the list without deleting its files."""
        self._dropped.pop(name, None)
        self._on_change()

    # ---- start and stop

    async def _restart_runner(self) -> None:
        async with self._lock:
            await self._stop_runner()
            if not (self.settings.folder and self.settings.device) or self._client is None:
                self._on_change()
                return
            try:
                await self._check_permission(self._client)
                await self._start_runner(self._client)
            except (PermissionDeniedError, NotFoundError) as error:
                self.error = error
            except SealyardError as error:
                self._fail(error)
        self._on_change()

    async def _start_runner(self, client: Client) -> None:
        state = self._session_state()
        runner = WatchRunner(client, self.settings, state.workspace_id, state.identity, self._app.post_message)
        try:
            warning = await runner.start(self._download_dir)
        except BaseException:
            await runner.stop()
            raise
        self._runner = runner
        self.state = WatchState.WATCHING
        if warning:
            self._app.notify(escape_text(warning), severity="warning", markup=False)

    async def _stop_runner(self) -> None:
        runner, self._runner = self._runner, None
        self.state, self.error = WatchState.OFF, None
        if runner is not None:
            await runner.stop()

    async def _check_permission(self, client: Client) -> None:
        device = await client.device(self.settings.device)
        if not self._session_state().is_allowed(Action.USE, device_resource(device.id)):
            raise PermissionDeniedError(
                f"You do not have permission to use {device.name}.", "Ask an administrator for USE permission."
            )

    def _fail(self, error: SealyardError) -> None:
        self.state, self.error = WatchState.FAILED, error
        self._on_change()

    def _override_file(self) -> StateFile[_Override]:
        state = self._session_state()
        return StateFile(state_path("watch-plan", state.workspace_id, state.identity), _Override())

    def _effective_settings(self) -> WatchFolderSettings:
        override, settings = self._override_file().read(), self._defaults
        return override.settings if override.replaces == settings else settings

    # ---- proposals

    def _record(self, name: str, event: WatchEvent) -> None:
        self._dropped[name] = DropStatus(name=name, at=self._now(), event=event)
        self._on_change()

    def _active_runner(self) -> WatchRunner:
        if self._runner is None:
            raise InvalidInputError("The folder is no longer watched.", "Set up the watch folder again.")
        return self._runner

    @contextmanager
    def _invalidate_on_error(self, proposal: PackageProposal) -> Iterator[None]:
        """Mark the proposal as invalid if the body of the ``with`` statement raises a permanent error.

        The proposal remains in the list with the reason, and the error is re-raised.
        """
        try:
            yield
        except PERMANENT_ERRORS as error:
            if (entry := self._dropped.get(proposal.name)) is not None and entry.event == proposal:
                self._dropped[proposal.name] = msgspec.structs.replace(entry, invalid_reason=error.message)
            self._on_change()
            raise

    def _notify_new_proposals(self) -> None:
        """Notify the user of all new proposals in a single notification."""
        self._notification_scheduled = False
        count, self._new_proposals = self._new_proposals, 0
        if count:
            text = f"{'1 package is' if count == 1 else f'{count} packages are'} ready in the watch folder."
            if self._app.current_mode != "upload":
                self._app.notify(text, markup=False)
            self._alert(text)
