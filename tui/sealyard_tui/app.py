"""The main application class: screens, global key bindings, connection to the workspace, and profiles."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.console import RenderableType
from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Input

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard.client.protocol import Client
from sealyard.model.errors import KeyStoreLockedError, SealyardError
from sealyard.model.safe_text import escape_text
from sealyard_tui import dialogs, screens, widgets
from sealyard_tui.action_keys import action_keys
from sealyard_tui.app_base import BaseApp
from sealyard_tui.appearance.palette_loader import PALETTE_PROVIDERS
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.dialogs.about import show_about
from sealyard_tui.dialogs.clock import confirm_clock
from sealyard_tui.dialogs.quit import QuitDialog
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.dialogs.theme_picker import ThemePicker
from sealyard_tui.messages import ShowFilter, ShowRow, ShowScreen, ShowTask, SwitchProfile
from sealyard_tui.profile_switcher import ProfileSwitcher
from sealyard_tui.screens.base import SCREENS, BaseScreen
from sealyard_tui.screens.factories import SCREEN_FACTORIES
from sealyard_tui.screens.list_screen import ListScreen
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.messages import ConnectionChanged, ConnectionMode, EngineState, EngineUpdate
from sealyard_tui.session.pending_changes import describe_pending
from sealyard_tui.session.session import Session
from sealyard_tui.session.state_loader import load_workspace_data
from sealyard_tui.terminal.signals import install_signal_handlers
from sealyard_tui.widgets.safe_input import PRINTABLE_PATTERN

if TYPE_CHECKING:
    from sealyard_tui.screens.dashboard.screen import DashboardScreen  # imported by its factory when it is first shown


class SealyardApp(BaseApp):
    """The Textual application: six main screens that share one session."""

    TITLE = "Sealyard"
    CSS_PATH = ["app.tcss", "screens/base.tcss", "dialogs/base.tcss"]
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {**SCREEN_FACTORIES}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS = App.COMMANDS | PALETTE_PROVIDERS
    HELP = "Sealyard signs and encrypts firmware under dual control."

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key, f"show_screen('{name}')", label, show=False, id=f"app.{name}")
            for name, (key, label) in SCREENS.items()
        ),
        Binding("question_mark,f1", "help", "Help", id="app.help", tooltip="Show the keys of this screen"),
        Binding(
            "ctrl+p,colon", "command_palette", "Palette", show=False, id="app.palette", tooltip="Search all commands"
        ),
        Binding("f2", "next_profile", "Next profile", show=False, id="app.next_profile"),
        Binding("P", "pick_profile", "Profile", show=False, id="app.profile"),
        Binding("f3", "toggle_mouse", "Mouse on/off", show=False, id="app.mouse"),
        Binding("f4", "toggle_compact", "Compact", show=False, id="app.compact"),
        Binding("exclamation_mark", "show_ignored_settings", "Ignored settings", show=False, id="app.ignored_settings"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend"),
        Binding("q", "quit_safely", "Quit", id="app.quit"),
        Binding("ctrl+q", "quit", "Quit at once", show=False, priority=True, id="app.force_quit"),
    ]

    def __init__(
        self,
        session: Session,
        settings: Settings,
        *,
        now: Callable[[], datetime] | None = None,
        download_dir: Path | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        preferences = preferences or Preferences(settings)
        # Textual starts in the default mode; switching to another one at the start would compose and paint twice.
        first_screen = preferences.first_screen
        self.DEFAULT_MODE = first_screen if first_screen in SCREENS else "dashboard"  # type: ignore[misc]
        super().__init__(session, settings, now=now, download_dir=download_dir, preferences=preferences)
        self.profile_switcher = ProfileSwitcher(self)
        self.key_store_error: KeyStoreLockedError | None = None
        """Set if the application exited because the key store is locked: only the launcher can ask for a passphrase."""
        self.discarded_changes = ""
        """The changes that were pending when the application ended; may be untrusted."""
        self._refreshing_state = False
        self._refresh_requested = False
        self._reload_names = True
        """Whether the display names of subjects may have changed."""
        self._connect_lock = asyncio.Lock()
        self._refresh_lock = asyncio.Lock()

    # ---- start and stop

    def on_load(self) -> None:
        self.appearance.apply_keymap(keymap_classes)

    async def on_mount(self) -> None:
        install_signal_handlers(self)
        self.appearance.apply()
        self.appearance.remember_screen(self.current_mode)
        self.mode_change_signal.subscribe(self, self.appearance.remember_screen)
        self.call_after_refresh(self._start_session)

    def _start_session(self) -> None:
        """Start the session.

        Called after the first paint, because loading the engine would delay it, even in a thread.
        """
        self.run_guarded(self, self.session.start(self.post_message), group="session")

    async def on_unmount(self) -> None:
        """Stop the services that run in this event loop, and save the UI state. The launcher closes the engine."""
        self._input_queue.close()
        self.discarded_changes = self.discarded_changes or describe_pending(self.changes.pending)
        self.changes.cancel_all()
        await self.download_manager.stop()
        await self.watch_folder.stop()
        await self.session.stop()
        await self.appearance.save()

    # ---- connection

    @on(ConnectionChanged)
    async def _on_connection_changed(self, event: ConnectionChanged) -> None:
        previous = self.state
        reason = error_text(event.error, action_keys(self)) if event.error is not None else ""
        self.set_state(previous.with_connection(event, reason))
        if previous.mode is ConnectionMode.ATTACHED and event.mode is ConnectionMode.OWNER:
            self.notify("The previous owner exited; this application now owns the workspace.", markup=False)
        if event.state is EngineState.FAILED:
            assert event.error is not None
            self._on_open_failed(event.error)
            return
        if reason:
            title = "Not connected" if event.state is EngineState.RECONNECTING else ""
            self.notify(escape_text(reason), title=title, severity="warning", markup=False)
        if event.state is EngineState.UNVERIFIED:
            self.run_guarded(self, self._refresh_state_soon(), group="state", background=True)
        if event.state in (EngineState.READY, EngineState.READ_ONLY):
            self.run_guarded(self, self._start_services(), group="connect", background=True)

    def _on_open_failed(self, error: SealyardError) -> None:
        if isinstance(error, KeyStoreLockedError):
            self.key_store_error = error
            self.exit()
        else:
            self.show_error(error)

    async def _start_services(self) -> None:
        """Refresh the state, including the user's permissions, then start or resume downloads and the watch folder."""
        self.check_unknown_outcomes()
        async with self._connect_lock:
            client = await self.session.client()
            self._reload_names = True
            await self._refresh_state(client)
            if self.session.is_current(client):
                await self.download_manager.start(client)
            if self.session.is_current(client):
                await self.watch_folder.start(client)

    async def _refresh_state(self, client: Client) -> None:
        """Load the data of the workspace into the state, unless the identity changes in the meantime."""
        async with self._refresh_lock:
            with_names, self._reload_names = self._reload_names, False
            try:
                data = await load_workspace_data(client, with_names=with_names)
            except BaseException:
                self._reload_names = self._reload_names or with_names
                raise
            if self.session.is_current(client):
                # Other messages may have changed the state in the meantime.
                self.set_state(data.apply_to(self.state, action_keys(self)))

    @on(EngineUpdate)
    def _on_engine_update(self, update: EngineUpdate) -> None:
        self.engine_updates.publish(update)
        self.notifier.on_engine_update(update)
        self._reload_names = self._reload_names or update.may_change_subjects
        if update.durable:
            self.run_guarded(self, self._refresh_state_soon(), group="state", background=True)

    async def _refresh_state_soon(self) -> None:
        """Refresh the state, and repeat this if updates arrive in the meantime. Concurrent calls share one refresh."""
        if self._refreshing_state:
            self._refresh_requested = True
            return
        self._refreshing_state = True
        try:
            self._refresh_requested = True
            while self._refresh_requested:
                self._refresh_requested = False
                await self._refresh_state(await self.session.client())
        finally:
            self._refreshing_state = False

    # ---- profiles

    def action_next_profile(self) -> None:
        self.profile_switcher.switch_to_next()

    def action_pick_profile(self) -> None:
        self.profile_switcher.pick()

    @on(SwitchProfile)
    def _on_switch_profile(self, message: SwitchProfile) -> None:
        self.switch_profile(message.profile)

    def switch_profile(self, profile: Profile) -> None:
        """Switch to the identity of ``profile`` in the same workspace, unless the session is still starting."""
        self.profile_switcher.switch_to(profile)

    # ---- screens

    def action_show_screen(self, name: str) -> None:
        self.switch_mode(name)

    @on(ShowScreen)
    def _on_show_screen(self, message: ShowScreen) -> None:
        self.switch_mode(message.name)

    @on(ShowRow)
    def _on_show_row(self, message: ShowRow) -> None:
        self._run_on_list(message.screen, lambda screen: screen.show_row(message.key))

    @on(ShowFilter)
    def _on_show_filter(self, message: ShowFilter) -> None:
        self._run_on_list(message.screen, lambda screen: screen.apply_filter(message.text))

    def _run_on_list(self, name: str, work: Callable[[ListScreen], None]) -> None:
        """Switch to a screen with a list, and call ``work`` with it as :meth:`run_on_screen` does."""
        self.run_on_screen(name, lambda screen: work(cast("ListScreen", screen)))

    @on(ShowTask)
    def _on_show_task(self, message: ShowTask) -> None:
        self.show_task(message.task_id)

    def show_task(self, task_id: str) -> None:
        """Switch to the dashboard and select the task there."""
        self.run_on_screen("dashboard", lambda screen: cast("DashboardScreen", screen).show_task(task_id))

    # ---- keys

    def action_quit_safely(self) -> None:
        """Quit, but ask for confirmation first if something would be interrupted or discarded."""
        running, downloads = self.state.running, len(self.download_manager.running)
        self._quit_unless(
            describe_pending(self.changes.pending),
            f"Running tasks (will resume at the next start): {running}" if running else "",
            f"Downloads (will resume at the next start): {downloads}" if downloads else "",
            "Unsubmitted files in the upload form will be discarded." if self.has_unsaved_form else "",
        )

    async def action_quit(self) -> None:
        """Quit, and ask only if a change is pending. Repeating the key in the question quits."""
        self._quit_unless("" if isinstance(self.screen, QuitDialog) else describe_pending(self.changes.pending))

    def _quit_unless(self, *warnings: str) -> None:
        if question := "\n".join(filter(None, warnings)):
            self.push_screen(QuitDialog(question), self._on_quit_answer)
        else:
            self.exit()

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Quit without sending the pending changes. Textual cancels all workers before :meth:`on_unmount`."""
        self.discarded_changes = describe_pending(self.changes.pending)
        self.changes.cancel_all()
        super().exit(result, return_code, message)

    def _on_quit_answer(self, confirmed: bool | None) -> None:
        if confirmed:
            self.exit()

    def action_help(self) -> None:
        from sealyard_tui.appearance.active_bindings import active_actions
        from sealyard_tui.dialogs.help import HelpScreen

        label, about = "this dialog", ""
        if isinstance(self.screen, BaseScreen):
            label, about = SCREENS[self.screen.NAME][1], self.screen.help_text
        self.push_screen(HelpScreen(label, about, active_actions(self.screen)))

    def action_toggle_mouse(self) -> None:
        enabled = self.appearance.toggle_mouse()
        text = "Mouse input enabled." if enabled else "Mouse input disabled; the terminal handles the mouse."
        self.notify(text, markup=False)

    def action_toggle_compact(self) -> None:
        self.appearance.toggle_compact()

    def action_show_ignored_settings(self) -> None:
        self.clear_notifications()
        self.push_screen(TextDialog("Ignored settings", self.appearance.ignored_settings_text()))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "show_ignored_settings":
            return self.appearance.has_ignored_settings
        return super().check_action(action, parameters)

    @on(CommandPalette.Opened)
    def _on_palette_opened(self) -> None:
        """Restrict the palette's input to printable characters, because Textual would draw others unescaped."""
        self.screen.query_one(Input).restrict = PRINTABLE_PATTERN

    def search_themes(self) -> None:
        self.push_screen(ThemePicker(self.preferences.theme_names, self.theme), self.appearance.choose_theme)

    def confirm_clock(self) -> None:
        self.run_guarded(self, self._confirm_clock(), group="clock", exclusive=True)

    async def _confirm_clock(self) -> None:
        await confirm_clock(self, self.changes)
        await self._refresh_state_soon()

    def show_about(self) -> None:
        self.run_guarded(self, show_about(self, self.session, self.state), group="about", exclusive=True)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Yield the commands of the command palette that have no key binding."""
        yield SystemCommand("Theme", "Choose a theme with live preview", self.search_themes)
        yield SystemCommand("Screenshot", "Save a screenshot (SVG)", self.deliver_screenshot)
        yield SystemCommand("About this workspace", "Show its server, crypto zone and crypto hosts", self.show_about)
        if self.state.can_confirm_clock:
            yield SystemCommand("Confirm the system clock", "Apply the changes that wait for it", self.confirm_clock)
        commands = super().get_system_commands(screen)
        yield from (command for command in commands if command.title in ("Maximize", "Minimize"))


def keymap_classes() -> tuple[type[DOMNode], ...]:
    """Return all classes of the application that may have key bindings. Imports every module that defines one."""
    for package in (dialogs, screens, widgets):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    return tuple(cls for cls in _all_subclasses(DOMNode) if cls.__module__.startswith("sealyard_tui."))


def _all_subclasses(base: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _all_subclasses(cls)
