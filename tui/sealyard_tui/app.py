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
from sealyard_tui.look.look import Look
from sealyard_tui.look.preferences import Preferences
from sealyard_tui.look.stylesheet import LastingStylesheet
from sealyard_tui.screens.dialogs.dialog import ConfirmDialog, ErrorDialog, PickDialog
from sealyard_tui.screens.place import PLACES
from sealyard_tui.session.advice import told
from sealyard_tui.session.download_desk import DownloadDesk
from sealyard_tui.session.messages import DownloadNews, EngineMoved, EngineState, News, WatchNews, Way
from sealyard_tui.session.notices import Notices
from sealyard_tui.session.session import Session
from sealyard_tui.session.standing import Standing
from sealyard_tui.session.watching_folder import WatchDesk
from sealyard_tui.terminal.ending import heed_signals
from sealyard_tui.widgets.safe_input import PRINTABLE

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.01
"""How long the first paint of a place may be held back; Textual's own 0.05 can be felt."""


def _the_log() -> str:
    return escape_text(str(current_log_file() or "the log"))


def utc_now() -> datetime:
    return datetime.now(UTC)


def _dashboard() -> Screen[None]:
    from sealyard_tui.screens.dashboard.dashboard import Dashboard

    return Dashboard()


def _upload() -> Screen[None]:
    from sealyard_tui.screens.upload.upload import Upload

    return Upload()


def _approvals() -> Screen[None]:
    from sealyard_tui.screens.approvals.approvals import Approvals

    return Approvals()


def _audit() -> Screen[None]:
    from sealyard_tui.screens.audit.audit import Audit

    return Audit()


def _devices() -> Screen[None]:
    from sealyard_tui.screens.devices.devices import Devices

    return Devices()


def _access() -> Screen[None]:
    from sealyard_tui.screens.access.access import AccessControl

    return AccessControl()


def _key_commands() -> type[Provider]:
    from sealyard_tui.look.commands import KeyCommands

    return KeyCommands


def _profile_commands() -> type[Provider]:
    from sealyard_tui.look.commands import ProfileCommands

    return ProfileCommands


def _task_commands() -> type[Provider]:
    from sealyard_tui.look.commands import TaskCommands

    return TaskCommands


class SealyardApp(App[None]):
    """Runs on a session; knows nothing below the client."""

    TITLE = "Sealyard"
    CSS_PATH = ["app.tcss", "screens/place.tcss", "screens/dialogs/dialog.tcss"]
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
            Binding(key, f"go('{place}')", label, show=False, id=f"app.{place}")
            for place, (key, label) in PLACES.items()
        ),
        Binding("question_mark,f1", "explain", "Help", id="app.help", tooltip="The keys of this place"),
        Binding(
            "ctrl+p,colon", "command_palette", "Palette", show=False, id="app.palette", tooltip="Everything, by name"
        ),
        Binding("f2", "next_profile", "Next profile", show=False, id="app.next_profile"),
        Binding("P", "pick_profile", "Profile", show=False, id="app.profile"),
        Binding("f3", "toggle_mouse", "Mouse on/off", show=False, id="app.mouse"),
        Binding("f4", "toggle_compact", "Compact", show=False, id="app.compact"),
        Binding("exclamation_mark", "left_out", "Settings left out", show=False, id="app.left_out"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend"),
        Binding("q", "leave", "Quit", id="app.leave"),
        Binding("ctrl+q", "quit", "Quit at once", show=False, priority=True, id="app.quit"),
    ]

    def __init__(
        self,
        session: Session,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        downloads: Path | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        """``downloads``: where results go; None where nothing is downloaded by itself or by key.

        ``preferences``: with a person's own themes and memory; by default what follows from ``settings``.
        """
        self.preferences = preferences or Preferences(settings)
        first = self.preferences.first_screen
        # Textual begins with an empty screen of its own; whatever is switched to then is composed and painted anew.
        self.DEFAULT_MODE = first if first in PLACES else "dashboard"  # type: ignore[misc]
        super().__init__()
        self.session = session
        self.settings = settings
        self.look = Look(self, self.preferences)
        self.look.colour()
        self.stylesheet = LastingStylesheet(variables=self.get_css_variables())
        self.now = now
        self.standing = Standing(
            profile=session.profile.name,
            identity=session.profile.identity,
            way=session.connection.way,
            host=session.connection.host,
        )
        self.news: Signal[News] = Signal(self, "news")
        self.standing_changed: Signal[Standing] = Signal(self, "standing")
        self.person_changed: Signal[Standing] = Signal(self, "person")
        self.locked: KeyStoreLockedError | None = None
        """Why it ended at once: only the plain terminal may ask for a passphrase."""
        self.downloads = DownloadDesk(self, downloads)
        self.watch_desk = WatchDesk(self)
        self.unsent = False
        """Whether a form holds what quitting would lose."""
        self.notices = Notices(self)
        self._counting = False
        self._count_again = False
        self._arriving = asyncio.Lock()

    # ---- beginning and end

    async def on_mount(self) -> None:
        heed_signals(self)
        self.look.put_on()
        self.look.saw(self.current_mode)
        self.mode_change_signal.subscribe(self, self.look.saw)
        self.call_after_refresh(self._open)

    def _open(self) -> None:
        """Loading the engine would slow the first paint down, even on another thread."""
        self.begin(self, self.session.start(self.post_message), group="session")

    def _fatal_error(self) -> None:
        """A fault of ours: Textual would print all local variables, secrets among them."""
        log.critical("the application ended by a fault", exc_info=True)
        self.bell()
        self.panic(
            Text(f"Sealyard ended by a fault of its own; what it was is in {_the_log()}. What was accepted is kept.")
        )

    def delay_update(self, delay: float = SWITCH_SECONDS) -> None:
        super().delay_update(min(delay, SWITCH_SECONDS))

    def begin(
        self,
        node: DOMNode,
        work: Coroutine[Any, Any, None],
        *,
        group: str = "default",
        exclusive: bool = False,
        reading: bool = False,
    ) -> Worker[None]:
        """Does ``work``, guarded, beside the handlers and as long as ``node`` is there."""
        guarded: Callable[[], Coroutine[Any, Any, None]] = partial(self.guarded, work, reading=reading)
        worker: Worker[None] = node.run_worker(guarded, group=group, exclusive=exclusive, exit_on_error=False)
        # One that is cancelled before it runs would leave it behind, never awaited.
        weakref.finalize(worker, work.close)
        return worker

    async def guarded(self, work: Coroutine[Any, Any, None], *, reading: bool = False) -> None:
        """Does ``work``; what goes wrong is shown and the application goes on.

        ``reading``: nobody asked for it. That the line is lost stands at the top of the screen then, and all is read
        anew when it is back.
        """
        try:
            await work
        except SealyardError as error:
            lost = isinstance(error, ServerUnreachableError) or self.standing.engine is EngineState.RECONNECTING
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

    def stand(self, standing: Standing) -> None:
        if standing != self.standing:
            self.standing = standing
            self.notices.stand(standing)
            self.standing_changed.publish(standing)

    @on(EngineMoved)
    async def _engine_moved(self, event: EngineMoved) -> None:
        before = self.standing
        why = told(event.error) if event.error is not None else ""
        self.stand(before.moved(event, why))
        if before.way is Way.ATTACHED and event.way is Way.HOLDS:
            self.notify("Who held the workspace has gone; this application holds it now.", markup=False)
        if event.state is EngineState.FAILED:
            assert event.error is not None
            self._failed(event.error)
            return
        if why:
            title = "No line to the workspace" if event.state is EngineState.RECONNECTING else ""
            self.notify(escape_text(why), title=title, severity="warning", markup=False)
        if event.state in (EngineState.READY, EngineState.READ_ONLY):
            self.begin(self, self._arrive(), group="arrive", reading=True)

    def _failed(self, error: SealyardError) -> None:
        if isinstance(error, KeyStoreLockedError):
            self.locked = error
            self.exit()
        else:
            self.show_error(error)

    async def _arrive(self) -> None:
        """Learns who one is here, and begins what goes on beside the screens, or takes it up again."""
        async with self._arriving:
            client = await self.session.client()
            await self._read_standing(client)
            await self.downloads.begin(client)
            await self.watch_desk.begin(client)

    async def _read_standing(self, client: Client) -> None:
        info, policy, counts = await client.workspace(), await client.policy(), await client.counts()
        self.stand(
            msgspec.structs.replace(
                self.standing,
                roles=roles_for(info.rights),
                rights=info.rights,
                workspace=info.name,
                workspace_id=info.id,
                place=info.location,
                demo=info.demo,
                trial=policy.allow_self_approval,
                one_time_password=policy.require_otp,
                four_eyes=info.trust_note,
                running=counts.by_status.get(TaskStatus.RUNNING, 0),
                waiting_for_me=counts.awaiting_my_approval,
            )
        )

    @on(News)
    def _heard(self, news: News) -> None:
        self.news.publish(news)
        self.notices.hear(news)
        if news.durable:
            self.begin(self, self._count(), group="count", reading=True)

    async def _count(self) -> None:
        """One count at a time, and one more for all that came meanwhile."""
        if self._counting:
            self._count_again = True
            return
        self._counting = True
        try:
            self._count_again = True
            while self._count_again:
                self._count_again = False
                await self._read_standing(await self.session.client())
        finally:
            self._counting = False

    # ---- profiles

    def action_next_profile(self) -> None:
        self.become(self.session.next_profile())

    def action_pick_profile(self) -> None:
        self.run_worker(self.guarded(self._pick_profile()), group="profiles", exclusive=True, exit_on_error=False)

    async def _pick_profile(self) -> None:
        """Those there are, and people of the workspace who have none: whoever added somebody can be them at once.

        At a server one is only who one has a token of.
        """
        if not self.standing.host and self.standing.may(Action.VIEW, resource_type_uri(ResourceType.ACL)):
            access = await (await self.session.client()).access()
            self.session.meet(each.id for each in access.subjects if subject_kind(each.id) is SubjectKind.USER)
        known = self.session.everybody
        choices = [(each.name, f"{each.name}  {each.identity}") for each in known]
        picked = await self.push_screen_wait(PickDialog("Who are you?", choices, self.session.profile.name))
        found = next((each for each in known if each.name == picked), None)
        if found is not None:
            self.become(found)

    def become(self, profile: Profile) -> None:
        """Somebody else of the same workspace looks from now on."""
        if profile.name != self.session.profile.name and self.standing.engine is not EngineState.STARTING:
            self.begin(self, self._switch(profile), group="session", exclusive=True)

    async def _switch(self, profile: Profile) -> None:
        await self.downloads.end()
        await self.watch_desk.end()
        self.notices.forget()
        self.standing = Standing(
            profile=profile.name,
            identity=profile.identity,
            workspace=self.standing.workspace,
            demo=self.standing.demo,
            four_eyes=self.standing.four_eyes,
            way=self.standing.way,
            host=self.standing.host,
        )
        await self.session.leave_for(profile)
        self.person_changed.publish(self.standing)
        await self.session.start(self.post_message)

    # ---- what goes on beside the screens

    @on(DownloadNews)
    def _download_news(self, news: DownloadNews) -> None:
        self.downloads.hear(news.event)

    @on(WatchNews)
    def _watch_news(self, news: WatchNews) -> None:
        self.watch_desk.hear(news)

    def attract(self, text: str) -> None:
        """Calls the person as the settings say: the bell, a notice on the desktop (OSC 9, OSC 777)."""
        if self.settings.bell:
            self.bell()
        if self.settings.desktop_notifications and self._driver is not None:
            said = escape_text(text, 120).replace(";", ",")
            self._driver.write(f"\x1b]9;Sealyard: {said}\x07\x1b]777;notify;Sealyard;{said}\x07")

    # ---- keys

    def action_go(self, place: str) -> None:
        self.switch_mode(place)

    def show_task(self, task_id: str) -> None:
        """Goes to the dashboard, to this task."""
        self.switch_mode("dashboard")
        self.call_after_refresh(self._show_task, task_id)

    def _show_task(self, task_id: str) -> None:
        from sealyard_tui.screens.dashboard.dashboard import Dashboard

        if isinstance(self.screen, Dashboard):
            self.screen.show_task(task_id)

    def action_leave(self) -> None:
        running, downloads = self.standing.running, len(self.downloads.running)
        busy = [
            f"Running tasks that go on at the next start: {running}." if running else "",
            f"Downloads that go on at the next start: {downloads}." if downloads else "",
            "What was not submitted in the upload form will be lost." if self.unsent else "",
        ]
        if not any(busy):
            self.exit()
            return
        question = "\n".join(each for each in busy if each)
        self.push_screen(ConfirmDialog("Quit?", question, yes="Quit", no="Stay"), self._left)

    def _left(self, leaving: bool | None) -> None:
        if leaving:
            self.exit()

    def action_explain(self) -> None:
        from sealyard_tui.screens.dialogs.help import help_for

        self.push_screen(help_for(self.screen))

    def action_toggle_mouse(self) -> None:
        has_it = self.look.toggle_mouse()
        self.notify("The application has the mouse." if has_it else "The terminal has the mouse.", markup=False)

    def action_toggle_compact(self) -> None:
        self.look.toggle_compact()

    def action_left_out(self) -> None:
        self.look.show_left_out()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "left_out":
            return self.look.left_out
        return super().check_action(action, parameters)

    @on(CommandPalette.Opened)
    def _palette_opened(self) -> None:
        """Its line is Textual's own, which would draw whatever is pasted."""
        self.screen.query_one(Input).restrict = PRINTABLE

    def search_themes(self) -> None:
        self.look.pick_theme()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What has no key of its own."""
        yield SystemCommand("Theme", "Choose one by looking at it", self.search_themes)
        yield SystemCommand("Screenshot", "Save what is seen as an SVG picture", self.deliver_screenshot)
        yield from (each for each in super().get_system_commands(screen) if each.title in ("Maximize", "Minimize"))

    async def on_unmount(self) -> None:
        """What runs on this loop ends with it; the engine goes on until the front closes it."""
        await self.downloads.end()
        await self.watch_desk.end()
        await self.session.stop()
        await self.look.remember()
