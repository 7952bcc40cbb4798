"""Base classes of the main screens and their dialogs: status bar, key hints, engine updates, and background work."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, ClassVar, Generic

import msgspec
from textual import events, getters, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.worker import Worker

from sealyard.client.protocol import Client
from sealyard.model.display_zone import display_zone
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.app_base import BaseApp
from sealyard_tui.appearance.textual_patches import BatchedScreen, use_repainting_compositor
from sealyard_tui.appearance.ui_state import ScreenState
from sealyard_tui.dialogs.base import Answer, BaseDialog
from sealyard_tui.formatting import format_clock, shorten_middle
from sealyard_tui.messages import ShowScreen
from sealyard_tui.session.messages import EngineState, EngineUpdate
from sealyard_tui.session.state import SessionState
from sealyard_tui.session.state_format import format_status, state_summary
from sealyard_tui.terminal.input_queue import OPENING_GROUP
from sealyard_tui.widgets.download_bar import DownloadBar
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.flash import Flash
from sealyard_tui.widgets.key_hints import KeyHintBar
from sealyard_tui.widgets.status_bar import ScreenTab, StatusBar
from sealyard_tui.widgets.too_small import MIN_HEIGHT, MIN_WIDTH, TooSmall
from sealyard_tui.widgets.virtual_table import VirtualTable

SCREENS = {
    "dashboard": ("1", "Dashboard"),
    "upload": ("2", "Upload"),
    "approvals": ("3", "Approvals"),
    "audit": ("4", "Audit"),
    "devices": ("5", "Devices"),
    "access": ("6", "Access"),
}
"""Maps the name of each screen to its key and label, in tab order."""


MIN_NAME_WIDTH = 12
"""Minimum number of characters of a name in a short message."""

FLASH_PADDING = 2
"""Number of cells of padding beside a short message."""

SIDE_BY_SIDE_WIDTH = 160
"""Minimum width of the terminal, in cells, for showing the detail beside the list instead of below it."""

SIDE_BY_SIDE_CLASS = "-side-by-side"
"""CSS class of screens of that width. A breakpoint could not set it, because Textual sets the class of only one."""


class BaseScreen(BatchedScreen[None]):
    """Base class of the six main screens. Each loads its data when first shown and when the engine reports a change."""

    app = getters.app(BaseApp)

    NAME: ClassVar[str]
    """Name of the screen in :data:`SCREENS`."""

    DISABLED_HINTS: ClassVar[Mapping[str, str]] = {}
    """Why actions are disabled for some rows, by action. The texts may contain key placeholders."""

    HORIZONTAL_BREAKPOINTS = [(0, "-too-narrow"), (MIN_WIDTH, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-too-short"), (MIN_HEIGHT, "-short"), (32, "-tall")]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,f5", "reload", "Refresh", id="screen.refresh", tooltip="Reload all data", show=False),
        Binding("slash", "filter", "Filter", id="screen.filter", tooltip="Filter the list"),
        Binding(
            "escape",
            "back",
            "Back",
            id="screen.back",
            show=False,
            tooltip="Cancel pending changes, clear marks and filter, close the detail",
        ),
    ]

    def __init__(self) -> None:
        super().__init__(id=self.NAME)
        use_repainting_compositor(self)
        self.loaded_at: datetime | None = None
        self._is_stale = False

    # ---- for subclasses

    @abstractmethod
    def compose_body(self) -> ComposeResult:
        """Yield the widgets between the status bar and the key hints."""

    @abstractmethod
    async def load(self) -> None:
        """Load and show all data of the screen. The caller handles errors of :mod:`sealyard.model.errors`."""

    async def apply_update(self, update: EngineUpdate) -> None:
        """Apply an engine update; called only while the screen is visible.

        By default, all data is reloaded if the update contains changes to stored data.
        """
        if update.durable:
            await self.load()

    def tick(self, now: datetime) -> None:
        """Update ages and remaining times; called periodically while the screen is visible."""

    def reset(self) -> None:
        """Clear all data of the previous identity. :meth:`load` is called afterwards."""

    # ---- services

    @property
    def state(self) -> SessionState:
        return self.app.state

    def now(self) -> datetime:
        return self.app.now()

    async def client(self) -> Client:
        """Wait until the engine is open, and return its client.

        Await this only in background work (:meth:`run_guarded`): waiting in a message handler would block the screen.
        """
        return await self.app.session.client()

    def run_guarded(
        self, work: Coroutine[Any, Any, None], *, group: str = "action", exclusive: bool = False
    ) -> Worker[None]:
        """Run ``work`` in the background, and show errors in a dialog.

        ``exclusive``: whether to cancel other work of the same ``group``.
        """
        return self.app.run_guarded(self, work, group=group, exclusive=exclusive)

    def run_opening(self, work: Coroutine[Any, Any, None]) -> Worker[None]:
        """Run ``work``, which loads data and opens a dialog, with :meth:`run_guarded`. Later keys wait for it."""
        return self.app.run_guarded(self, work, group=OPENING_GROUP)

    def run_background(self, work: Coroutine[Any, Any, None], *, group: str, exclusive: bool = False) -> Worker[None]:
        """Run ``work`` like :meth:`run_guarded`, but show a lost connection in the status bar instead of a dialog."""
        return self.app.run_guarded(self, work, group=group, exclusive=exclusive, background=True)

    @property
    def help_text(self) -> str:
        """The help text of the screen with the current keys, and a summary of the session."""
        return "\n".join([insert_keys(self.app, self.HELP or ""), "", *state_summary(self.state)])

    def flash(self, text: str, *, warning: bool = False) -> None:
        """Show a short message. ``text`` may be untrusted."""
        self.query_one(Flash).show(text, warning=warning)

    def flash_outcome(self, outcome: str, name: str, note: str = "") -> None:
        """Show what was done to a task, such as ``Rejected: gateway 1.5.0``. ``name`` must be safe text.

        The name is shortened in the middle, so that ``outcome`` and ``note`` are always readable.
        """
        room = max(MIN_NAME_WIDTH, self.size.width - len(f"✓ {outcome}: {note}") - FLASH_PADDING)
        self.flash(f"{outcome}: {shorten_middle(name, room)}{note}")

    @property
    def saved_state(self) -> ScreenState:
        """The saved filter, sort order and columns of this screen."""
        return self.app.appearance.screen_state(self.NAME)

    def save_state(self, **fields: Any) -> None:
        """Save the given fields of :class:`ScreenState` for the next start, and keep the others.

        Text typed into the filter bar is saved automatically.
        """
        self.app.appearance.remember_screen_state(self.NAME, msgspec.structs.replace(self.saved_state, **fields))

    def format_last_update(self) -> str:
        """Return ``updated 3 s ago``, or ``as of 14:02:05 UTC`` while reconnecting; empty before the first load."""
        if self.loaded_at is None:
            return ""
        if self.state.engine is EngineState.RECONNECTING:
            return f"as of {format_clock(self.loaded_at)} {display_zone.convert(self.loaded_at):%Z}"
        return f"updated {max(0, int((self.now() - self.loaded_at).total_seconds()))} s ago"

    # ---- layout

    def compose(self) -> ComposeResult:
        yield StatusBar({name: label for name, (_, label) in SCREENS.items()}, self.NAME)
        with Vertical(id="body"):
            yield from self.compose_body()
        yield DownloadBar()
        yield Flash()
        yield TooSmall()
        yield KeyHintBar()

    def on_mount(self) -> None:
        self.app.engine_updates.subscribe(self, self._on_engine_update)
        self.app.state_changed.subscribe(self, self._on_state_changed)
        self.app.identity_changed.subscribe(self, self._on_identity_changed)
        self.app.downloads_changed.subscribe(self, self._on_downloads_changed)
        self.app.changes_changed.subscribe(self, self._on_changes_changed)
        self.set_interval(self.app.settings.refresh_interval, self._tick)
        self._on_state_changed(self.state)
        self.reload()

    def reload(self) -> None:
        self.run_background(self._load(), group="load", exclusive=True)

    async def _load(self) -> None:
        if self.state.engine is EngineState.FAILED:
            return
        await self.load()
        self.loaded_at = self.now()

    def _on_engine_update(self, update: EngineUpdate) -> None:
        if self.is_current:
            self.run_background(self._apply_and_timestamp(update), group="update")
        else:
            self._is_stale = self._is_stale or update.durable

    async def _apply_and_timestamp(self, update: EngineUpdate) -> None:
        await self.apply_update(update)
        self.loaded_at = self.now()

    def _on_identity_changed(self, _: SessionState) -> None:
        self.reset()
        self.reload()

    def _on_state_changed(self, state: SessionState) -> None:
        self._show_state(state)
        self.refresh_bindings()

    def _show_state(self, state: SessionState) -> None:
        bar = self.query_one(StatusBar)
        identity, engine = format_status(state, bar.text_width, len(self.app.changes.pending))
        details = "\n".join(state_summary(state))
        bar.show(identity, engine, details=details, counts={"approvals": state.awaiting_my_approval})

    def _on_downloads_changed(self, _: None) -> None:
        self.query_one(DownloadBar).show(self.app.download_manager.running)

    def _on_changes_changed(self, _: None) -> None:
        """Show the number of pending changes, and the marks of their rows."""
        self._show_state(self.state)
        for table in self.query(VirtualTable):
            table.refresh()

    def on_screen_resume(self) -> None:
        if self._is_stale:
            self._is_stale = False
            self.reload()

    def _tick(self) -> None:
        if self.is_current:
            self.tick(self.now())

    def on_resize(self) -> None:
        self.set_class(self.size.width >= SIDE_BY_SIDE_WIDTH, SIDE_BY_SIDE_CLASS)
        self._show_state(self.state)

    @on(ScreenTab.Clicked)
    def _on_tab_clicked(self, event: ScreenTab.Clicked) -> None:
        self.post_message(ShowScreen(event.screen_name))

    @on(FilterBar.Changed)
    def _save_filter(self, event: FilterBar.Changed) -> None:
        self.save_state(filter=event.text)

    @on(FilterBar.Closed)
    def _on_filter_closed(self) -> None:
        self.set_focus(self.query(VirtualTable).first())

    # ---- keys

    def on_key(self, event: events.Key) -> None:
        """Explain why a key does nothing, for example because its action is not possible for the current row."""
        active_binding = self.active_bindings.get(event.key)
        if active_binding is not None:
            if not active_binding.enabled and active_binding.node is self:
                self.explain_disabled(active_binding.binding.action)
            return
        if (text := self._explain_inactive_key(event.key)) is not None:
            self.flash(text, warning=True)

    def explain_disabled(self, action: str) -> None:
        """Show why ``action`` is disabled at present, although the user has the permission for it."""
        text = self.DISABLED_HINTS.get(action)
        if text is not None:
            self.flash(insert_keys(self.app, text), warning=True)

    def _explain_inactive_key(self, key: str) -> str | None:
        """Return why a key without an active binding does nothing; None for keys that never have an effect here."""
        hidden = next((each for each in self._bindings.key_to_bindings.get(key, ()) if each.description), None)
        if hidden is not None:
            reason = self.state.write_blocked_reason or "not available to you here"
            return f"{hidden.description}: {reason}"
        other = self.active_bindings.get(key.swapcase())
        if other is None or not other.enabled or not other.binding.description:
            return None
        return f"Press {self.app.get_key_display(other.binding)}: {other.binding.description}"

    def action_reload(self) -> None:
        self.reload()
        self.flash("Reloading")

    def action_filter(self) -> None:
        self.query_one(FilterBar).open()

    def action_back(self) -> None:
        """Cancel the pending changes. If there are none, dismiss the notifications, and clear the marks or the filter.

        The filter is only cleared if no row is marked.
        """
        if self.app.changes.cancel_background():
            return
        self.app.clear_notifications()
        if any(table.clear_marks() for table in self.query(VirtualTable)):
            return
        for bar in self.query(FilterBar):
            bar.clear()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        if action == "filter":
            return bool(self.query(FilterBar))
        return True


class ScreenDialog(BaseDialog[Answer], Generic[Answer]):
    """Base class of dialogs that use application services such as the client."""

    app = getters.app(BaseApp)
