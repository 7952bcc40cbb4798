"""The application: its places, who one is, and what reaches every place. What a place does is in ``screens``."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from rich.text import Text
from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette, Provider
from textual.dom import DOMNode
from textual.screen import Screen
from textual.signal import Signal
from textual.widgets import Input
from textual.worker import Worker

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard.client.log import current_log_file
from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, SubjectKind, resource_type_uri, roles_for, subject_kind
from sealyard.model.errors import KeyStoreLockedError, SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskStatus
from sealyard_tui.appearance.appearance import Appearance
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.textual_patches import CachedStylesheet
from sealyard_tui.dialogs.base import ConfirmDialog, ErrorDialog, PickDialog
from sealyard_tui.screens.base import SCREENS
from sealyard_tui.session.download_manager import DownloadManager
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.messages import (
    ConnectionChanged,
    ConnectionMode,
    DownloadUpdate,
    EngineState,
    EngineUpdate,
    WatchFolderUpdate,
)
from sealyard_tui.session.notifier import Notifier
from sealyard_tui.session.session import Session
from sealyard_tui.session.state import SessionState
from sealyard_tui.session.watch_folder import WatchFolderManager
from sealyard_tui.terminal.signals import install_signal_handlers
from sealyard_tui.widgets.safe_input import PRINTABLE_PATTERN

log = logging.getLogger(__name__)

MAX_UPDATE_DELAY = 0.01
"""How long the first paint of a place may be held back; Textual's own 0.05 can be felt."""


def _the_log() -> str:
    return escape_text(str(current_log_file() or "the log"))


def utc_now() -> datetime:
    return datetime.now(UTC)


def _dashboard() -> Screen[None]:
    from sealyard_tui.screens.dashboard.screen import DashboardScreen

    return DashboardScreen()


def _upload() -> Screen[None]:
    from sealyard_tui.screens.upload.screen import UploadScreen

    return UploadScreen()


def _approvals() -> Screen[None]:
    from sealyard_tui.screens.approvals.screen import ApprovalsScreen

    return ApprovalsScreen()


def _audit() -> Screen[None]:
    from sealyard_tui.screens.audit.screen import AuditScreen

    return AuditScreen()


def _devices() -> Screen[None]:
    from sealyard_tui.screens.devices.screen import DevicesScreen

    return DevicesScreen()


def _access() -> Screen[None]:
    from sealyard_tui.screens.access.screen import AccessScreen

    return AccessScreen()


def _key_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette import BindingCommands

    return BindingCommands


def _profile_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette import ProfileCommands

    return ProfileCommands


def _task_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette import TaskCommands

    return TaskCommands


class SealyardApp(App[None]):
    """Runs on a session; knows nothing below the client."""

    TITLE = "Sealyard"
    CSS_PATH = ["app.tcss", "screens/base.tcss", "dialogs/base.tcss"]
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "dashboard": _dashboard,
        "upload": _upload,
        "approvals": _approvals,
        "audit": _audit,
        "devices": _devices,
        "access": _access,
    }
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS = App.COMMANDS | {_key_commands, _profile_commands, _task_commands}
    HELP = "Sealyard signs and encrypts firmware under four eyes."

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key, f"show_screen('{place}')", label, show=False, id=f"app.{place}")
            for place, (key, label) in SCREENS.items()
        ),
        Binding("question_mark,f1", "help", "Help", id="app.help", tooltip="The keys of this place"),
        Binding(
            "ctrl+p,colon", "command_palette", "Palette", show=False, id="app.palette", tooltip="Everything, by name"
        ),
        Binding("f2", "next_profile", "Next profile", show=False, id="app.next_profile"),
        Binding("P", "pick_profile", "Profile", show=False, id="app.profile"),
        Binding("f3", "toggle_mouse", "Mouse on/off", show=False, id="app.mouse"),
        Binding("f4", "toggle_compact", "Compact", show=False, id="app.compact"),
        Binding("exclamation_mark", "show_ignored_settings", "Settings left out", show=False, id="app.left_out"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend"),
        Binding("q", "quit_safely", "Quit", id="app.leave"),
        Binding("ctrl+q", "quit", "Quit at once", show=False, priority=True, id="app.quit"),
    ]

    def __init__(
        self,
        session: Session,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        download_dir: Path | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        """``download_dir``: where results go; None where nothing is downloaded by itself or by key.

        ``preferences``: with a person's own themes and memory; by default what follows from ``settings``.
        """
        self.preferences = preferences or Preferences(settings)
        first = self.preferences.first_screen
        # Textual begins with an empty screen of its own; whatever is switched to then is composed and painted anew.
        self.DEFAULT_MODE = first if first in SCREENS else "dashboard"  # type: ignore[misc]
        super().__init__()
        self.session = session
        self.settings = settings
        self.appearance = Appearance(self, self.preferences)
        self.appearance.apply_theme()
        self.stylesheet = CachedStylesheet(variables=self.get_css_variables())
        self.now = now
        self.state = SessionState(
            profile=session.profile.name,
            identity=session.profile.identity,
            mode=session.connection.mode,
            host=session.connection.host,
        )
        self.engine_updates: Signal[EngineUpdate] = Signal(self, "news")
        self.state_changed: Signal[SessionState] = Signal(self, "standing")
        self.identity_changed: Signal[SessionState] = Signal(self, "person")
        self.key_store_error: KeyStoreLockedError | None = None
        """Why it ended at once: only the plain terminal may ask for a passphrase."""
        self.download_manager = DownloadManager(self, download_dir)
        self.watch_folder = WatchFolderManager(self)
        self.has_unsaved_form = False
        """Whether a form holds what quitting would lose."""
        self.notifier = Notifier(self)
        self._counting = False
        self._count_again = False
        self._arriving = asyncio.Lock()

    # ---- beginning and end

    async def on_mount(self) -> None:
        install_signal_handlers(self)
        self.appearance.apply()
        self.appearance.remember_screen(self.current_mode)
        self.mode_change_signal.subscribe(self, self.appearance.remember_screen)
        self.call_after_refresh(self._open)

    def _open(self) -> None:
        """Loading the engine would slow the first paint down, even on another thread."""
        self.run_guarded(self, self.session.start(self.post_message), group="session")

    def _fatal_error(self) -> None:
        """A fault of ours: Textual would print all local variables, secrets among them."""
        log.critical("the application ended by a fault", exc_info=True)
        self.bell()
        self.panic(
            Text(f"Sealyard ended by a fault of its own; what it was is in {_the_log()}. What was accepted is kept.")
        )

    def delay_update(self, delay: float = MAX_UPDATE_DELAY) -> None:
        super().delay_update(min(delay, MAX_UPDATE_DELAY))

    def run_guarded(
        self,
        node: DOMNode,
        work: Coroutine[Any, Any, None],
        *,
        group: str = "default",
        exclusive: bool = False,
        reading: bool = False,
    ) -> Worker[None]:
        """Does ``work``, guarded, beside the handlers and as long as ``node`` is there."""
        guarded: Callable[[], Coroutine[Any, Any, None]] = partial(self.guard, work, reading=reading)
        worker: Worker[None] = node.run_worker(guarded, group=group, exclusive=exclusive, exit_on_error=False)
        # One that is cancelled before it runs would leave it behind, never awaited.
        weakref.finalize(worker, work.close)
        return worker

    async def guard(self, work: Coroutine[Any, Any, None], *, reading: bool = False) -> None:
        """Does ``work``; what goes wrong is shown and the application goes on.

        ``reading``: nobody asked for it. That the line is lost stands at the top of the screen then, and all is read
        anew when it is back.
        """
        try:
            await work
        except SealyardError as error:
            lost = isinstance(error, ServerUnreachableError) or self.state.engine is EngineState.RECONNECTING
            if not (reading and lost):
                self.show_error(error)
        except Exception as error:
            log.exception("a fault in %s", getattr(work, "__qualname__", "a worker"))
            unexpected = SealyardError("Something went wrong that should not have.", f"What it was is in {_the_log()}.")
            self.show_error(unexpected, detail=f"{type(error).__name__}: {error}")

    def show_error(self, error: SealyardError, *, detail: str = "") -> None:
        """The same words are not put over themselves."""
        said = error.to_info()
        shown = any(isinstance(each, ErrorDialog) and each.error.to_info() == said for each in self.screen_stack)
        if self.is_running and not shown:
            self.push_screen(ErrorDialog(error, detail))

    # ---- who and where

    def set_state(self, standing: SessionState) -> None:
        if standing != self.state:
            self.state = standing
            self.notifier.on_state_changed(standing)
            self.state_changed.publish(standing)

    @on(ConnectionChanged)
    async def _on_connection_changed(self, event: ConnectionChanged) -> None:
        before = self.state
        why = error_text(event.error) if event.error is not None else ""
        self.set_state(before.with_connection(event, why))
        if before.mode is ConnectionMode.ATTACHED and event.mode is ConnectionMode.OWNER:
            self.notify("Who held the workspace has gone; this application holds it now.", markup=False)
        if event.state is EngineState.FAILED:
            assert event.error is not None
            self._failed(event.error)
            return
        if why:
            title = "No line to the workspace" if event.state is EngineState.RECONNECTING else ""
            self.notify(escape_text(why), title=title, severity="warning", markup=False)
        if event.state in (EngineState.READY, EngineState.READ_ONLY):
            self.run_guarded(self, self._after_connect(), group="arrive", reading=True)

    def _failed(self, error: SealyardError) -> None:
        if isinstance(error, KeyStoreLockedError):
            self.key_store_error = error
            self.exit()
        else:
            self.show_error(error)

    async def _after_connect(self) -> None:
        """Learns who one is here, and begins what goes on beside the screens, or takes it up again."""
        async with self._arriving:
            client = await self.session.client()
            await self._refresh_state(client)
            await self.download_manager.start(client)
            await self.watch_folder.start(client)

    async def _refresh_state(self, client: Client) -> None:
        info, policy, counts = await client.workspace(), await client.policy(), await client.counts()
        self.set_state(
            msgspec.structs.replace(
                self.state,
                roles=roles_for(info.rights),
                rights=info.rights,
                workspace=info.name,
                workspace_id=info.id,
                location=info.location,
                demo=info.demo,
                self_approval=policy.allow_self_approval,
                one_time_password=policy.require_otp,
                four_eyes=info.trust_note,
                running=counts.by_status.get(TaskStatus.RUNNING, 0),
                awaiting_my_approval=counts.awaiting_my_approval,
            )
        )

    @on(EngineUpdate)
    def _on_engine_update(self, news: EngineUpdate) -> None:
        self.engine_updates.publish(news)
        self.notifier.on_engine_update(news)
        if news.durable:
            self.run_guarded(self, self._refresh_state_soon(), group="count", reading=True)

    async def _refresh_state_soon(self) -> None:
        """One count at a time, and one more for all that came meanwhile."""
        if self._counting:
            self._count_again = True
            return
        self._counting = True
        try:
            self._count_again = True
            while self._count_again:
                self._count_again = False
                await self._refresh_state(await self.session.client())
        finally:
            self._counting = False

    # ---- profiles

    def action_next_profile(self) -> None:
        self.switch_profile(self.session.next_profile())

    def action_pick_profile(self) -> None:
        self.run_worker(self.guard(self._pick_profile()), group="profiles", exclusive=True, exit_on_error=False)

    async def _pick_profile(self) -> None:
        """Those there are, and people of the workspace who have none: whoever added somebody can be them at once.

        At a server one is only who one has a token of.
        """
        if not self.state.host and self.state.is_allowed(Action.VIEW, resource_type_uri(ResourceType.ACL)):
            access = await (await self.session.client()).access()
            self.session.add_identities(
                each.id for each in access.subjects if subject_kind(each.id) is SubjectKind.USER
            )
        known = self.session.available_profiles
        choices = [(each.name, f"{each.name}  {each.identity}") for each in known]
        picked = await self.push_screen_wait(PickDialog("Who are you?", choices, self.session.profile.name))
        found = next((each for each in known if each.name == picked), None)
        if found is not None:
            self.switch_profile(found)

    def switch_profile(self, profile: Profile) -> None:
        """Somebody else of the same workspace looks from now on."""
        if profile.name != self.session.profile.name and self.state.engine is not EngineState.STARTING:
            self.run_guarded(self, self._switch_profile(profile), group="session", exclusive=True)

    async def _switch_profile(self, profile: Profile) -> None:
        await self.download_manager.stop()
        await self.watch_folder.stop()
        self.notifier.reset()
        self.state = SessionState(
            profile=profile.name,
            identity=profile.identity,
            workspace=self.state.workspace,
            demo=self.state.demo,
            four_eyes=self.state.four_eyes,
            mode=self.state.mode,
            host=self.state.host,
        )
        await self.session.switch_profile(profile)
        self.identity_changed.publish(self.state)
        await self.session.start(self.post_message)

    # ---- what goes on beside the screens

    @on(DownloadUpdate)
    def _download_news(self, news: DownloadUpdate) -> None:
        self.download_manager.on_event(news.event)

    @on(WatchFolderUpdate)
    def _watch_news(self, news: WatchFolderUpdate) -> None:
        self.watch_folder.on_event(news)

    def alert(self, text: str) -> None:
        """Calls the person as the settings say: the bell, a notice on the desktop (OSC 9, OSC 777)."""
        if self.settings.bell:
            self.bell()
        if self.settings.desktop_notifications and self._driver is not None:
            said = escape_text(text, 120).replace(";", ",")
            self._driver.write(f"\x1b]9;Sealyard: {said}\x07\x1b]777;notify;Sealyard;{said}\x07")

    # ---- keys

    def action_show_screen(self, place: str) -> None:
        self.switch_mode(place)

    def show_task(self, task_id: str) -> None:
        """Goes to the dashboard, to this task."""
        self.switch_mode("dashboard")
        self.call_after_refresh(self._show_task, task_id)

    def _show_task(self, task_id: str) -> None:
        from sealyard_tui.screens.dashboard.screen import DashboardScreen

        if isinstance(self.screen, DashboardScreen):
            self.screen.show_task(task_id)

    def action_quit_safely(self) -> None:
        running, downloads = self.state.running, len(self.download_manager.running)
        busy = [
            f"Running tasks that go on at the next start: {running}." if running else "",
            f"Downloads that go on at the next start: {downloads}." if downloads else "",
            "What was not submitted in the upload form will be lost." if self.has_unsaved_form else "",
        ]
        if not any(busy):
            self.exit()
            return
        question = "\n".join(each for each in busy if each)
        self.push_screen(ConfirmDialog("Quit?", question, yes="Quit", no="Stay"), self._on_quit_answer)

    def _on_quit_answer(self, leaving: bool | None) -> None:
        if leaving:
            self.exit()

    def action_help(self) -> None:
        from sealyard_tui.dialogs.help import build_help

        self.push_screen(build_help(self.screen))

    def action_toggle_mouse(self) -> None:
        has_it = self.appearance.toggle_mouse()
        self.notify("The application has the mouse." if has_it else "The terminal has the mouse.", markup=False)

    def action_toggle_compact(self) -> None:
        self.appearance.toggle_compact()

    def action_show_ignored_settings(self) -> None:
        self.appearance.show_ignored_settings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "show_ignored_settings":
            return self.appearance.has_ignored_settings
        return super().check_action(action, parameters)

    @on(CommandPalette.Opened)
    def _palette_opened(self) -> None:
        """Its line is Textual's own, which would draw whatever is pasted."""
        self.screen.query_one(Input).restrict = PRINTABLE_PATTERN

    def search_themes(self) -> None:
        self.appearance.pick_theme()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What has no key of its own."""
        yield SystemCommand("Theme", "Choose one by looking at it", self.search_themes)
        yield SystemCommand("Screenshot", "Save what is seen as an SVG picture", self.deliver_screenshot)
        yield from (each for each in super().get_system_commands(screen) if each.title in ("Maximize", "Minimize"))

    async def on_unmount(self) -> None:
        """What runs on this loop ends with it; the engine goes on until the front closes it."""
        await self.download_manager.stop()
        await self.watch_folder.stop()
        await self.session.stop()
        await self.appearance.save()
