"""The watch folder of the person one is now: on a thread of its own, and what it told, for the upload place to show."""

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
)
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard_tui.session.messages import WatchFolderUpdate
from sealyard_tui.session.state import SessionState

if TYPE_CHECKING:
    from sealyard.client.watch_folder.watcher import FolderWatcher

log = logging.getLogger(__name__)

TELL_SECONDS = 0.3
"""Offers that come within this time are told of together."""


class WatchRunner:
    """One folder, watched as one person, until it is stopped."""

    def __init__(
        self,
        client: Client,
        plan: WatchFolderSettings,
        workspace_id: str,
        subject: str,
        tell: Callable[[WatchFolderUpdate], object],
    ) -> None:
        """``tell`` is called on the thread of the watch."""
        self._client = client
        self._settings = plan
        self._workspace_id = workspace_id
        self._subject = subject
        self._tell = tell
        self._thread = LoopThread("sealyard-watch")
        self._folder: FolderWatcher | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self, downloads: Path | None) -> str:
        """What a person should know, else an empty text. ``downloads``: where results go.

        Raises what :class:`FolderWatcher` raises.
        """

        from sealyard.client.downloads.history import DownloadHistory, default_history_path
        from sealyard.client.watch_folder.watcher import FolderWatcher, watch_state_file

        def tell(event: WatchEvent) -> None:
            self._tell(WatchFolderUpdate(event))

        async def made() -> FolderWatcher:
            path = Path(self._settings.folder).expanduser()
            return FolderWatcher(
                self._client,
                path,
                self._settings.device,
                tell,
                state=watch_state_file(self._workspace_id, self._subject, path),
                downloads=downloads,
                downloaded=DownloadHistory(default_history_path(self._workspace_id, self._subject)),
                rule=self._settings.on_drop,
                force_polling=self._settings.force_polling,
            )

        self._folder = await self._thread.call(made())
        self._running = asyncio.create_task(self._run(self._folder))
        return self._folder.warning

    async def submit(self, offer: PackageProposal) -> Task:
        """Raises what :meth:`FolderWatcher.submit` raises."""
        assert self._folder is not None
        return await self._thread.call(self._folder.submit(offer))

    async def dismiss(self, offer: PackageProposal) -> None:
        """Raises what :meth:`FolderWatcher.dismiss` raises."""
        assert self._folder is not None
        await self._thread.call(self._folder.dismiss(offer))

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await asyncio.to_thread(self._thread.stop)

    async def _run(self, folder: FolderWatcher) -> None:
        try:
            await self._thread.call(folder.run())
        except SealyardError as error:
            self._tell(WatchFolderUpdate(None, error))
        except Exception:
            log.exception("the watch folder ended by a fault")
            fault = SealyardError("Something went wrong that should not have.", "The log says what it was.")
            self._tell(WatchFolderUpdate(None, fault))


class WatchState(StrEnum):
    OFF = "off"
    WATCHING = "watching"
    FAILED = "failed"


class DropStatus(FrozenStruct, frozen=True, kw_only=True):
    """The newest that was told of one drop, and when. ``gone``: why the offer holds no more."""

    name: str
    at: datetime
    event: WatchEvent
    invalid_reason: str = ""

    @property
    def offer(self) -> PackageProposal | None:
        """While it is open."""
        return self.event if isinstance(self.event, PackageProposal) and not self.invalid_reason else None


class _Override(FrozenStruct, frozen=True, kw_only=True):
    """What was set up here, and over which settings: it holds until those are others."""

    settings: WatchFolderSettings = WatchFolderSettings()
    over: WatchFolderSettings | None = None


class WatchFolderManager:
    """The watch folder of the current identity: its settings, state and dropped entries.

    ``error`` tells why watching failed, or why it is off if the user may not use the device configuration.
    """

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
        """``defaults``: what the settings file says. ``download_dir``: results stored there are no proposals."""
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
        self._new = 0
        self._update_scheduled = False
        self._lock = asyncio.Lock()

    @property
    def dropped(self) -> list[DropStatus]:
        """Newest first."""
        return sorted(self._dropped.values(), key=lambda each: each.at, reverse=True)

    @property
    def offers(self) -> list[PackageProposal]:
        return [each.offer for each in self._dropped.values() if each.offer is not None]

    async def start(self, client: Client) -> None:
        """Watches what the settings say, or what was set up here by this person; what a lost line kept, again."""
        if self._client is not None and isinstance(self.error, ServerUnreachableError):
            await self._start()
        if self._client is not None or not self._session_state().can_write:
            return
        self._client = client
        self.settings = await asyncio.to_thread(self._planned)
        await self._start()

    async def stop(self) -> None:
        async with self._lock:
            await self._stop()
            self._client = None
            self._dropped.clear()

    async def configure(self, plan: WatchFolderSettings) -> None:
        """Watches as ``plan`` says from now on and at the next start; nothing where its folder is empty."""
        chosen = _Override(settings=plan, over=self._defaults)
        await asyncio.to_thread(self._file().update, lambda _: chosen)
        self.settings = plan
        self._dropped.clear()
        await self._start()

    def on_event(self, news: WatchFolderUpdate) -> None:
        if news.error is not None:
            self._fail(news.error)
            return
        assert news.event is not None
        name = news.event.proposal.name if isinstance(news.event, DropSubmitted) else news.event.name
        self._note(name, news.event)
        self._new += isinstance(news.event, PackageProposal)
        if not self._update_scheduled:
            self._update_scheduled = True
            self._app.set_timer(TELL_SECONDS, self._tell)

    async def submit(self, offer: PackageProposal) -> Task:
        """Raises what :meth:`FolderWatcher.submit` raises; an offer that holds no more is marked so."""
        with self._marking(offer):
            task = await self._there().submit(offer)
        self._note(offer.name, DropSubmitted(proposal=offer, task=task))
        return task

    async def dismiss(self, offer: PackageProposal) -> None:
        """Raises what :meth:`FolderWatcher.dismiss` raises; an offer that holds no more is marked so."""
        with self._marking(offer):
            await self._there().dismiss(offer)
        self.forget(offer.name)

    def forget(self, name: str) -> None:
        """Takes a drop from the list; the files stay where they are."""
        self._dropped.pop(name, None)
        self._on_change()

    # ---- beginning and end

    async def _start(self) -> None:
        async with self._lock:
            await self._stop()
            if not (self.settings.folder and self.settings.device) or self._client is None:
                self._on_change()
                return
            try:
                await self._require_use(self._client)
                await self._watch(self._client)
            except (PermissionDeniedError, NotFoundError) as error:
                self.error = error
            except SealyardError as error:
                self._fail(error)
        self._on_change()

    async def _watch(self, client: Client) -> None:
        standing = self._session_state()
        watching = WatchRunner(client, self.settings, standing.workspace_id, standing.identity, self._app.post_message)
        try:
            warning = await watching.start(self._download_dir)
        except BaseException:
            await watching.stop()
            raise
        self._runner = watching
        self.state = WatchState.WATCHING
        if warning:
            self._app.notify(escape_text(warning), severity="warning", markup=False)

    async def _stop(self) -> None:
        watching, self._runner = self._runner, None
        self.state, self.error = WatchState.OFF, None
        if watching is not None:
            await watching.stop()

    async def _require_use(self, client: Client) -> None:
        device = await client.device(self.settings.device)
        if not self._session_state().is_allowed(Action.USE, device_resource(device.id)):
            raise PermissionDeniedError(f"You may not use {device.name}.", "Ask an administrator for USE on it.")

    def _fail(self, error: SealyardError) -> None:
        self.state, self.error = WatchState.FAILED, error
        self._on_change()

    def _file(self) -> StateFile[_Override]:
        standing = self._session_state()
        return StateFile(state_path("watch-plan", standing.workspace_id, standing.identity), _Override())

    def _planned(self) -> WatchFolderSettings:
        chosen, settings = self._file().read(), self._defaults
        return chosen.settings if chosen.over == settings else settings

    # ---- offers

    def _note(self, name: str, event: WatchEvent) -> None:
        self._dropped[name] = DropStatus(name=name, at=self._now(), event=event)
        self._on_change()

    def _there(self) -> WatchRunner:
        if self._runner is None:
            raise InvalidInputError("The folder is not watched any more.", "Set the watch folder up again (w).")
        return self._runner

    @contextmanager
    def _marking(self, offer: PackageProposal) -> Iterator[None]:
        """An offer whose files are others by now, or are not taken, stays to be read, and is none any more."""
        try:
            yield
        except PERMANENT_ERRORS as error:
            if (dropped := self._dropped.get(offer.name)) is not None and dropped.event == offer:
                self._dropped[offer.name] = msgspec.structs.replace(dropped, invalid_reason=error.message)
            self._on_change()
            raise

    def _tell(self) -> None:
        """One word for all that came together."""
        self._update_scheduled = False
        new, self._new = self._new, 0
        if new:
            words = f"The watch folder offers {'a package' if new == 1 else f'{new} packages'}."
            if self._app.current_mode != "upload":
                self._app.notify(words, markup=False)
            self._alert(words)
