"""Base class of the application: services and signals for screens, background work, and error dialogs."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.text import Text
from textual import events, on
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.filter import LineFilter, Monochrome, NoColor
from textual.screen import Screen
from textual.signal import Signal
from textual.worker import Worker

from sealyard.client.config.settings_loader import Settings, editor_command
from sealyard.client.log import current_log_file
from sealyard.concurrency.clock import SystemClock
from sealyard.model.display_zone import display_zone
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_key, action_keys, bound_keys, insert_keys
from sealyard_tui.appearance.appearance import Appearance
from sealyard_tui.appearance.ascii_filter import AsciiFilter
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.textual_patches import CachedStylesheet, CrashReportingApp, QueuedNotificationsApp
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.messages import LoadTask, ResubmitTask
from sealyard_tui.session.download_manager import DownloadManager
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.messages import DownloadUpdate, EngineState, EngineUpdate, WatchFolderUpdate
from sealyard_tui.session.notifier import Notifier
from sealyard_tui.session.pending_changes import Change, ChangeCancelledError, PendingChanges
from sealyard_tui.session.session import Session
from sealyard_tui.session.state import SessionState
from sealyard_tui.session.watch_folder import WatchFolderManager
from sealyard_tui.terminal.editor import edit_text
from sealyard_tui.terminal.input_queue import InputQueue
from sealyard_tui.terminal.notify import notify_desktop
from sealyard_tui.widgets.too_small import MIN_HEIGHT, MIN_WIDTH

log = logging.getLogger(__name__)

MAX_UPDATE_DELAY = 0.01
"""Maximum delay in seconds of the first paint of a screen; Textual's default of 0.05 is noticeable."""

NOTICE_SECONDS = 15
"""Duration of notifications about changes that failed, in seconds."""

_NO_COLOR = NoColor()
_ASCII = AsciiFilter()


class BaseApp(CrashReportingApp[None], QueuedNotificationsApp[None]):
    """An application with the services that all screens share. It accesses the workspace only through the client."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        *,
        now: Callable[[], datetime] | None = None,
        download_dir: Path | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        """Create the services without starting them; they are started when the application runs.

        ``now``: a function that returns the current time. ``download_dir``: where results are stored; if None, nothing
        is downloaded. ``preferences``: the user's themes and saved UI state; by default derived from ``settings``.
        """
        self.preferences = preferences or Preferences(settings)
        super().__init__()
        self.session = session
        self.settings = settings
        self.now = now or SystemClock().now
        display_zone.use(settings.time_zone)
        self.appearance = Appearance(self, self.preferences)
        self.appearance.apply_theme()
        self.stylesheet = CachedStylesheet(variables=self.get_css_variables())
        self.state = SessionState(
            profile=session.profile.name,
            identity=session.profile.identity,
            mode=session.connection.mode,
            host=session.connection.host,
        )
        self.engine_updates: Signal[EngineUpdate] = Signal(self, "engine-updates")
        self.state_changed: Signal[SessionState] = Signal(self, "state")
        self.identity_changed: Signal[SessionState] = Signal(self, "identity")
        self.downloads_changed: Signal[None] = Signal(self, "downloads")
        self.watch_folder_changed: Signal[None] = Signal(self, "watch-folder")
        self._input_queue = InputQueue(self, super().on_event)
        self.changes_changed: Signal[None] = Signal(self, "changes")
        self.changes = PendingChanges(
            session.client, is_connected=lambda: self.state.is_connected, on_change=self._on_changes_changed
        )
        self.has_unsaved_form = False
        """Whether a form holds input that would be lost on quitting."""
        self.notifier = Notifier(
            self,
            state=lambda: self.state,
            now=self.now,
            alert=self.alert,
            is_download_automatic=lambda: self.download_manager.is_automatic,
        )
        self.download_manager = DownloadManager(
            self,
            download_dir,
            automatic=settings.auto_download,
            state=lambda: self.state,
            on_change=lambda: self.downloads_changed.publish(None),
            on_result=self.notifier.on_download_result,
        )
        self.watch_folder = WatchFolderManager(
            self,
            settings.watch,
            state=lambda: self.state,
            now=self.now,
            alert=self.alert,
            download_dir=download_dir,
            on_change=lambda: self.watch_folder_changed.publish(None),
        )

    # ---- work and errors

    def run_guarded(
        self,
        node: DOMNode,
        work: Coroutine[Any, Any, None],
        *,
        group: str = "default",
        exclusive: bool = False,
        background: bool = False,
    ) -> Worker[None]:
        """Run ``work`` with :meth:`guard` in a Textual worker owned by ``node``, and return the worker.

        ``group`` and ``exclusive`` are passed to Textual; ``background`` is passed to :meth:`guard`.
        """
        create_coroutine: Callable[[], Coroutine[Any, Any, None]] = partial(self.guard, work, background=background)
        worker: Worker[None] = node.run_worker(create_coroutine, group=group, exclusive=exclusive, exit_on_error=False)
        # A worker that is cancelled before it starts never awaits the coroutine, which must then be closed.
        weakref.finalize(worker, work.close)
        return worker

    async def guard(self, work: Coroutine[Any, Any, None], *, background: bool = False) -> None:
        """Await ``work``. If it fails, show the error in a dialog instead of raising it.

        ``background``: the work was not started by the user. A lost connection is then shown in the status bar only,
        and all data is reloaded after the reconnect.
        """
        try:
            await work
        except SealyardError as error:
            is_disconnected = isinstance(error, ServerUnreachableError) or self.state.engine is EngineState.RECONNECTING
            if not (background and is_disconnected):
                self.show_error(error)
        except Exception as error:
            log.exception("unexpected error in %s", getattr(work, "__qualname__", "a worker"))
            internal_error = SealyardError("Internal error.", f"See {log_location()} for details.")
            self.show_error(internal_error, detail=f"{type(error).__name__}: {error}")

    def show_error(self, error: SealyardError, *, detail: str = "") -> None:
        """Open an error dialog, unless one with the same error is already open."""
        info = error.to_info()
        dialogs = (screen for screen in self.screen_stack if isinstance(screen, ErrorDialog))
        is_shown = any(dialog.error.to_info() == info for dialog in dialogs)
        if self.is_running and not is_shown:
            self.push_screen(ErrorDialog(error, detail))

    @on(ResubmitTask)
    def _on_resubmit_task(self, message: ResubmitTask) -> None:
        self.run_on_screen("upload", lambda screen: screen.post_message(LoadTask(message.task)))

    def run_on_screen(self, name: str, work: Callable[[Screen[Any]], object]) -> None:
        """Switch to a main screen, and call ``work`` with it once it is mounted, even if a dialog covers it."""
        self.switch_mode(name)
        screen = self.screen_stack[0]
        screen.call_later(work, screen)

    # ---- changes

    def _on_changes_changed(self) -> None:
        if not self.is_running:
            return
        self.changes_changed.publish(None)
        if self.changes.has_unknown_outcomes and self.state.is_connected:
            self.check_unknown_outcomes()

    def check_unknown_outcomes(self) -> None:
        """Find out whether changes were made that are no longer awaited, and notify the user of the answers."""
        self.run_guarded(self, self._check_unknown_outcomes(), group="outcomes", exclusive=True, background=True)

    async def _check_unknown_outcomes(self) -> None:
        for change, is_made in await self.changes.check_unknown_outcomes():
            label = escape_text(change.label)
            if is_made:
                self.notify(f"✓ {label}: the change was made.", markup=False)
            else:
                text = f"! {label}: the change was not made. {insert_keys(self, change.hint)}".rstrip()
                self.notify(text, severity="warning", timeout=NOTICE_SECONDS, markup=False)

    def notify_failure(self, change: Change, error: SealyardError) -> None:
        """Notify the user that a change without a dialog has failed, and how to repeat it.

        A dialog could open over something else, because the change may have waited for a lost connection.
        """
        reason = escape_text(error_text(error, action_keys(self)))
        text = f"{escape_text(change.label)}: {reason} {insert_keys(self, change.hint)}".rstrip()
        is_cancelled = isinstance(error, ChangeCancelledError)
        self.notify(text, severity="warning" if is_cancelled else "error", timeout=NOTICE_SECONDS, markup=False)

    # ---- session

    def set_state(self, state: SessionState) -> None:
        if state != self.state:
            self.state = state
            self.notifier.on_state_changed(state)
            self.state_changed.publish(state)

    @on(DownloadUpdate)
    def _on_download_update(self, update: DownloadUpdate) -> None:
        self.download_manager.on_event(update.event)

    @on(WatchFolderUpdate)
    def _on_watch_folder_update(self, update: WatchFolderUpdate) -> None:
        self.watch_folder.on_event(update)

    # ---- input

    async def on_event(self, event: events.Event) -> None:
        """Pass on keys in the order in which they were typed, and none to a screen that is too small to be shown."""
        is_input = isinstance(event, events.InputEvent | events.Paste) and not event.is_forwarded
        if not is_input or not self.screen_stack:
            await super().on_event(event)
        elif self.is_too_small:
            await self._on_input_when_too_small(event)
        elif isinstance(event, events.Key | events.Paste):
            await self._input_queue.put(event)
        else:
            await super().on_event(event)

    @property
    def is_too_small(self) -> bool:
        """Whether the terminal is too small for the current screen, which a message then covers."""
        screen = self.screen
        min_width, min_height = screen.min_size if isinstance(screen, BaseDialog) else (MIN_WIDTH, MIN_HEIGHT)
        return self.size.width < min_width or self.size.height < min_height

    async def _on_input_when_too_small(self, event: events.Event) -> None:
        """Accept only the keys for quitting, because the user cannot see what other input would do."""
        if not isinstance(event, events.Key):
            return
        for action in ("quit", "force_quit"):
            if event.key in bound_keys(self, f"app.{action}"):
                await self.run_action("quit_safely" if action == "quit" else "quit")

    def on_resize(self, _: events.Resize) -> None:
        self.call_later(self._close_hidden_palette)

    def _close_hidden_palette(self) -> None:
        if isinstance(self.screen, CommandPalette) and self.is_too_small:
            self.screen.dismiss()

    def alert(self, text: str) -> None:
        """Ring the bell and send a desktop notification, each only if enabled in the settings."""
        if self.settings.bell:
            self.bell()
        if self.settings.desktop_notifications:
            notify_desktop(self, text)

    def edit_text(self, text: str) -> str:
        """Open ``text`` in the user's editor and return the edited text. Raises :class:`UsageError` if this fails."""
        return edit_text(self, editor_command(self.settings), text)

    def action_help_quit(self) -> None:
        """Name the key that quits; Textual binds this action to Ctrl+C."""
        self.notify(f"Press {action_key(self, 'app.quit')} to quit.", markup=False)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the line filters: those of the preferences, and those of Textual except the ones for ``NO_COLOR``.

        Textual's own ones produce shades of gray, or black on black with ANSI themes.
        """
        filters = [rule for rule in super().get_line_filters() if not isinstance(rule, Monochrome | NoColor)]
        if self.preferences.is_colorless:
            filters.append(_NO_COLOR)
        if self.preferences.uses_ascii:
            filters.append(_ASCII)
        return filters

    def delay_update(self, delay: float = MAX_UPDATE_DELAY) -> None:
        super().delay_update(min(delay, MAX_UPDATE_DELAY))

    def report_crash(self) -> None:
        log.critical("the application crashed", exc_info=True)
        self.bell()
        self.panic(Text(f"Sealyard crashed. See {log_location()} for details. Submitted tasks are safe."))


def log_location() -> str:
    """Return the path of the log file, or ``the log`` if there is none, as safe text."""
    return escape_text(str(current_log_file() or "the log"))
