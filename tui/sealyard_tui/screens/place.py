"""What the six places have in common: the top and bottom lines, news from the engine, and work that may fail."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.worker import Worker

from sealyard.client.protocol import Client
from sealyard_tui.look.compositor import WholeCompositor
from sealyard_tui.look.memory import View
from sealyard_tui.session.messages import EngineState, News
from sealyard_tui.session.standing import Standing
from sealyard_tui.shown import clock_text
from sealyard_tui.widgets.big_table import BigTable
from sealyard_tui.widgets.download_bar import DownloadBar
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.flash import Flash
from sealyard_tui.widgets.key_line import KeyLine
from sealyard_tui.widgets.status_bar import PlaceTab, StatusBar
from sealyard_tui.widgets.too_small import MIN_HEIGHT, MIN_WIDTH, TooSmall

if TYPE_CHECKING:
    from sealyard_tui.app import SealyardApp

PLACES = {
    "dashboard": ("1", "Dashboard"),
    "upload": ("2", "Upload"),
    "approvals": ("3", "Approvals"),
    "audit": ("4", "Audit"),
    "devices": ("5", "Devices"),
    "access": ("6", "Access"),
}
"""Key and label of each, in their order."""


class Place(Screen[None]):
    """A main screen. It loads when it is first seen, and again when something changed that it shows."""

    PLACE: ClassVar[str]
    """Its name in :data:`PLACES`."""

    HORIZONTAL_BREAKPOINTS = [(0, "-too-narrow"), (MIN_WIDTH, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-too-short"), (MIN_HEIGHT, "-short"), (32, "-tall")]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,f5", "reload", "Refresh", id="place.refresh", tooltip="Read everything anew", show=False),
        Binding("slash", "filter", "Filter", id="place.filter", tooltip="Narrow the list"),
        Binding("escape", "back", "Back", id="place.back", show=False, tooltip="Clear marks, filter, detail"),
    ]

    def __init__(self) -> None:
        super().__init__(id=self.PLACE)
        self._compositor = WholeCompositor()
        self.loaded_at: datetime | None = None
        self._missed = False

    # ---- for each place to say

    @abstractmethod
    def compose_place(self) -> ComposeResult:
        """What is between the top and the bottom lines."""

    @abstractmethod
    async def load(self) -> None:
        """Reads anew what is shown. Raises errors of the family; they are shown."""

    async def take(self, news: News) -> None:
        """What happened, while the place is seen; by default everything is read anew."""
        if news.durable:
            await self.load()

    def tick(self, now: datetime) -> None:
        """Each second while the place is seen: ages and times left."""

    def forget(self) -> None:
        """Somebody else looks now: what the one before saw goes. :meth:`load` follows."""

    # ---- what places use

    @property
    def sealyard(self) -> SealyardApp:
        return cast("SealyardApp", self.app)

    @property
    def standing(self) -> Standing:
        return self.sealyard.standing

    def now(self) -> datetime:
        return self.sealyard.now()

    async def client(self) -> Client:
        """Waits for the engine; never from a handler, always in :meth:`attempt`."""
        return await self.sealyard.session.client()

    def attempt(self, work: Coroutine[Any, Any, None], *, group: str = "act", exclusive: bool = False) -> Worker[None]:
        """Does ``work`` beside the handlers; what goes wrong is shown in a dialog."""
        return self.sealyard.begin(self, work, group=group, exclusive=exclusive)

    def read(self, work: Coroutine[Any, Any, None], *, group: str, exclusive: bool = False) -> Worker[None]:
        """As :meth:`attempt`, for what nobody asked for: a lost line is told at the top of the screen alone."""
        return self.sealyard.begin(self, work, group=group, exclusive=exclusive, reading=True)

    def flash(self, text: str, *, warning: bool = False) -> None:
        """``text`` may hold foreign text."""
        self.query_one(Flash).say(text, warning=warning)

    @property
    def remembered(self) -> View:
        """How this place was left: for its first filter and order."""
        return self.sealyard.look.view(self.PLACE)

    def remember(self, *, filter: str | None = None, sort: str | None = None) -> None:  # noqa: A002 - its name
        """For the next start. What is typed into a filter bar is remembered without it."""
        was = self.remembered
        changed = View(filter=was.filter if filter is None else filter, sort=was.sort if sort is None else sort)
        self.sealyard.look.left(self.PLACE, changed)

    def freshness(self) -> str:
        """``updated 3 s ago``, while the line is lost ``as of 14:02:05``; empty before the first time."""
        if self.loaded_at is None:
            return ""
        if self.standing.engine is EngineState.RECONNECTING:
            return f"as of {clock_text(self.loaded_at)}"
        return f"updated {max(0, int((self.now() - self.loaded_at).total_seconds()))} s ago"

    # ---- the frame

    def compose(self) -> ComposeResult:
        yield StatusBar(PLACES, self.PLACE)
        with Vertical(id="place"):
            yield from self.compose_place()
        yield DownloadBar()
        yield Flash()
        yield TooSmall()
        yield KeyLine()

    def _compositor_refresh(self) -> None:
        """Textual renders the whole screen even while painting is held back, and throws it away."""
        if not self.app._batch_count:
            super()._compositor_refresh()

    def on_mount(self) -> None:
        self.sealyard.news.subscribe(self, self._heard)
        self.sealyard.standing_changed.subscribe(self, self._stand)
        self.sealyard.person_changed.subscribe(self, self._somebody_else)
        self.sealyard.downloads.changed.subscribe(self, self._downloads)
        self.set_interval(self.sealyard.settings.refresh_interval, self._tick)
        self._stand(self.standing)
        self.reload()

    def reload(self) -> None:
        self.read(self._load(), group="load", exclusive=True)

    async def _load(self) -> None:
        if self.standing.engine is EngineState.FAILED:
            return
        await self.load()
        self.loaded_at = self.now()

    def _heard(self, news: News) -> None:
        if self.is_current:
            self.read(self._take(news), group="news")
        else:
            self._missed = self._missed or news.durable

    async def _take(self, news: News) -> None:
        await self.take(news)
        self.loaded_at = self.now()

    def _somebody_else(self, _: Standing) -> None:
        self.forget()
        self.reload()

    def _stand(self, standing: Standing) -> None:
        self.query_one(StatusBar).show(standing)
        self.refresh_bindings()

    def _downloads(self, _: None) -> None:
        self.query_one(DownloadBar).show(self.sealyard.downloads.running)

    def on_screen_resume(self) -> None:
        if self._missed:
            self._missed = False
            self.reload()

    def _tick(self) -> None:
        if self.is_current:
            self.tick(self.now())

    def on_resize(self) -> None:
        self.query_one(StatusBar).show(self.standing)

    @on(PlaceTab.Clicked)
    def _go(self, event: PlaceTab.Clicked) -> None:
        self.sealyard.action_go(event.place)

    @on(FilterBar.Changed)
    def _remember_filter(self, event: FilterBar.Changed) -> None:
        self.remember(filter=event.text)

    @on(FilterBar.Left)
    def _leave_filter(self) -> None:
        self.set_focus(self.query(BigTable).first())

    # ---- keys

    def action_reload(self) -> None:
        self.reload()
        self.flash("Reading anew")

    def action_filter(self) -> None:
        self.query_one(FilterBar).open()

    def action_back(self) -> None:
        """One level: marks, then the filter. Notices that lie over the place go in any case."""
        self.app.clear_notifications()
        if any(table.clear_marks() for table in self.query(BigTable)):
            return
        for bar in self.query(FilterBar):
            bar.clear()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        if action == "filter":
            return bool(self.query(FilterBar))
        return True
