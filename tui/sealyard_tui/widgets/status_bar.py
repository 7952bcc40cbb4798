"""The top of every place: the places and their keys, who one is, where, how the engine does, what four eyes means."""

from __future__ import annotations

import re

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text
from sealyard_tui.formatting import format_clock
from sealyard_tui.session.messages import ConnectionMode, EngineState
from sealyard_tui.session.state import SessionState

_ENGINE: dict[EngineState, tuple[str, str]] = {
    EngineState.STARTING: ("…", "$warning"),
    EngineState.READY: ("●", "$success"),
    EngineState.READ_ONLY: ("◌", "$warning"),
    EngineState.RECONNECTING: ("…", "$warning"),
    EngineState.FAILED: ("✗", "$error"),
}
_WAY: dict[ConnectionMode, str] = {
    ConnectionMode.OWNER: "Holds the workspace: who opens it on this machine meanwhile attaches to this application.",
    ConnectionMode.ATTACHED: "Attached: another process of this machine holds the workspace; when it goes, one that is"
    " attached takes over.",
    ConnectionMode.READ_ONLY: "Reads the files of the workspace.",
    ConnectionMode.SERVER: "At the server {host}.",
}
_FOUR_EYES = {ConnectionMode.SERVER: "four eyes: by login"}
"""Where there is no room for more; else they rest on trust."""

MARGIN = 3
"""Cells beside the words."""

FULL_LABEL_WIDTH = 70
"""Columns from which on every place's name fits, with two digits of what waits."""

SHORT_LABEL = 7


class ScreenTab(Static):
    """One place's name and key; a click goes there."""

    class Clicked(Message):
        def __init__(self, place: str) -> None:
            super().__init__()
            self.place = place

    def __init__(self, place: str, key: str, label: str, *, here: bool) -> None:
        super().__init__(classes="here" if here else "")
        self.place = place
        self._key = key
        self._label = label
        self._count = 0

    def render(self) -> Content:
        count = Content.styled(f"·{self._count}", "$warning bold") if self._count else Content("")
        here = self.has_class("here")
        label = escape_text(self._label, 0 if self.app.size.width >= FULL_LABEL_WIDTH else SHORT_LABEL)
        return Content.assemble(
            Content.styled(self._key, "$text-muted"), " ", Content.styled(label, "bold" if here else ""), count
        )

    def show_count(self, count: int) -> None:
        self._count = count
        self.refresh(layout=True)

    async def _on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.place))


class StatusBar(Vertical):
    def __init__(self, places: dict[str, tuple[str, str]], here: str) -> None:
        """``places``: key and label of each."""
        super().__init__()
        self._places = places
        self._here = here

    def compose(self) -> ComposeResult:
        with Horizontal(classes="tabs"):
            for place, (key, label) in self._places.items():
                yield ScreenTab(place, key, label, here=place == self._here)
        with Horizontal(classes="standing"):
            yield Static("", id="who", markup=False)
            yield Static("", id="engine", markup=False)

    def show(self, standing: SessionState) -> None:
        who, engine = _fit(standing, self.app.size.width - MARGIN)
        self.query_one("#who", Static).update(who)
        self.query_one("#engine", Static).update(engine)
        self.query_one("#engine", Static).tooltip = Content("\n".join(state_summary(standing)))
        for tab in self.query(ScreenTab):
            tab.set_class(self.app.size.width < FULL_LABEL_WIDTH, "-short")
            tab.show_count(standing.awaiting_my_approval if tab.place == "approvals" else 0)


def state_summary(standing: SessionState) -> list[str]:
    """What there is no room for in the bar, in full."""
    words = [f"Four eyes, {escape_text(standing.four_eyes)}."] if standing.four_eyes else []
    if standing.workspace:
        words.append(_WAY[standing.mode].format(host=escape_text(standing.host)))
    if standing.read_only_reason:
        words.append(f"Read only: {escape_text(standing.read_only_reason)}")
    if standing.engine is EngineState.RECONNECTING:
        since, last = (
            format_time(standing.connection.reconnecting_since),
            format_time(standing.connection.last_answer_at),
        )
        heard = f"the last answer came at {last}; what is seen is as of then" if last else "there was no answer yet"
        words.append(f"The line is lost since {since}: {heard}. It is tried again and again.")
    return words


def _fit(standing: SessionState, width: int) -> tuple[Content, Content]:
    """The longest wording that fits; the meaning of four eyes gives way first, then names of roles, then ``USER:``."""
    engines = _engine(standing)
    for narrow, engine in (*((False, each) for each in engines), (True, engines[-1])):
        who = _who(standing, narrow=narrow)
        if who.cell_length + engine.cell_length <= width:
            return who, engine
    kindless = msgspec.structs.replace(standing, identity=standing.identity.removeprefix("USER:"))
    return _who(kindless, narrow=True), engines[-1]


def _who(standing: SessionState, *, narrow: bool) -> Content:
    name = standing.identity.rpartition(":")[2]
    profile = "" if narrow and standing.profile == name else f"{escape_text(standing.profile, 20)} "
    known = bool(standing.workspace)
    return Content.assemble(
        Content.styled(profile, "bold"),
        Content.styled(escape_text(standing.identity, 24), "bold"),
        Content.styled(f" ({_roles(standing, narrow=narrow)})" if known else "", "$text-muted"),
        Content.styled(" @ ", "$text-muted"),
        Content.styled(_where(standing, narrow=narrow), "bold"),
        Content.styled(" DEMO" if standing.demo else "", "$warning bold"),
    )


def _where(standing: SessionState, *, narrow: bool) -> str:
    """Of a server its name counts most: there may be a workspace of the same name on another."""
    workspace = escape_text(standing.workspace, 16 if narrow else 30)
    if not standing.host:
        return workspace or "…"
    if narrow:
        return escape_text(re.sub(r":\d+$", "", standing.host), 24)
    return f"{workspace} on {escape_text(standing.host, 30)}" if workspace else escape_text(standing.host, 30)


def _roles(standing: SessionState, *, narrow: bool) -> str:
    roles = standing.roles
    if narrow and len(roles) > 1:
        return f"{roles[0]} +{len(roles) - 1}"
    return ", ".join(roles) or "no role"


def _engine(standing: SessionState) -> list[Content]:
    """The wordings, longest first."""
    sign, style = _ENGINE[standing.engine]
    return [
        Content.assemble(Content.styled(f"{sign} {state}", style), *(" │ ", four_eyes) if four_eyes else ())
        for state, four_eyes in (
            _disconnected_text(standing) if standing.engine is EngineState.RECONNECTING else _location_text(standing)
        )
    ]


def _location_text(standing: SessionState) -> list[tuple[str, Content]]:
    count = standing.running
    long = f"{standing.engine} {count} running" if count else standing.engine
    short = f"{standing.engine} ▸{count}" if count else standing.engine
    return [(long, _four_eyes(standing)), (short, _four_eyes(standing, narrow=True))]


def _disconnected_text(standing: SessionState) -> list[tuple[str, Content]]:
    """Now it counts most that it is lost; only the trial is never left unsaid."""
    link, four_eyes = standing.connection, _four_eyes(standing, narrow=True)
    heard = f"last answer {format_clock(link.last_answer_at)}" if link.last_answer_at else "no answer yet"
    since = f"reconnecting since {format_clock(link.reconnecting_since)}"
    least = four_eyes if standing.self_approval else Content("")
    return [(f"{since} ({heard})", four_eyes), (f"{since} ({heard})", least), (since, least)]


def _four_eyes(standing: SessionState, *, narrow: bool = False) -> Content:
    if standing.self_approval:
        return Content.styled("SELF-APPROVAL TRIAL", "$error bold")
    short = narrow or not standing.four_eyes
    return Content(_FOUR_EYES.get(standing.mode, "four eyes: on trust") if short else _first_sentence(standing))


def _first_sentence(standing: SessionState) -> str:
    """The mode and its meaning, without the consequence: that is in the tooltip and under `?`."""
    return escape_text("four eyes " + re.split("[;,]", standing.four_eyes)[0], 60)
