"""The top of every place: the places and their keys, who one is, where, how the engine does, what four eyes means."""

from __future__ import annotations

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from sealyard.model.safe_text import safe_text
from sealyard_tui.session.messages import EngineState
from sealyard_tui.session.standing import Standing

_ENGINE: dict[EngineState, tuple[str, str]] = {
    EngineState.STARTING: ("…", "$warning"),
    EngineState.READY: ("●", "$success"),
    EngineState.READ_ONLY: ("◌", "$warning"),
    EngineState.FAILED: ("✗", "$error"),
}
MARGIN = 3
"""Cells beside the words."""


WHOLE_LABELS = 70
"""Columns from which on every place's name fits, with two digits of what waits."""

SHORT_LABEL = 7


class PlaceTab(Static):
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
        label = safe_text(self._label, 0 if self.app.size.width >= WHOLE_LABELS else SHORT_LABEL)
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
                yield PlaceTab(place, key, label, here=place == self._here)
        with Horizontal(classes="standing"):
            yield Static("", id="who", markup=False)
            yield Static("", id="engine", markup=False)

    def show(self, standing: Standing) -> None:
        who, engine = _fitting(standing, self.app.size.width - MARGIN)
        self.query_one("#who", Static).update(who)
        self.query_one("#engine", Static).update(engine)
        self.query_one("#engine", Static).tooltip = Content("\n".join(standing_words(standing)))
        for tab in self.query(PlaceTab):
            tab.set_class(self.app.size.width < WHOLE_LABELS, "-short")
            tab.show_count(standing.waiting_for_me if tab.place == "approvals" else 0)


def standing_words(standing: Standing) -> list[str]:
    """What there is no room for in the bar, in full."""
    words = [f"Four eyes, {safe_text(standing.four_eyes)}."] if standing.four_eyes else []
    if standing.why_read_only:
        words.append(f"Read only: {safe_text(standing.why_read_only)}")
    return words


def _fitting(standing: Standing, width: int) -> tuple[Content, Content]:
    """The longest wording that fits; the meaning of four eyes gives way first, then names of roles, then ``USER:``."""
    for narrow_who, narrow_engine in ((False, False), (False, True), (True, True)):
        who, engine = _who(standing, narrow=narrow_who), _engine(standing, narrow=narrow_engine)
        if who.cell_length + engine.cell_length <= width:
            return who, engine
    kindless = msgspec.structs.replace(standing, identity=standing.identity.removeprefix("USER:"))
    return _who(kindless, narrow=True), _engine(standing, narrow=True)


def _who(standing: Standing, *, narrow: bool) -> Content:
    name = standing.identity.rpartition(":")[2]
    profile = "" if narrow and standing.profile == name else f"{safe_text(standing.profile, 20)} "
    known = bool(standing.workspace)
    return Content.assemble(
        Content.styled(profile, "bold"),
        Content.styled(safe_text(standing.identity, 24), "bold"),
        Content.styled(f" ({_roles(standing, narrow=narrow)})" if known else "", "$text-muted"),
        Content.styled(" @ ", "$text-muted"),
        Content.styled(safe_text(standing.workspace, 16 if narrow else 30) or "…", "bold"),
        Content.styled(" DEMO" if standing.demo else "", "$warning bold"),
    )


def _roles(standing: Standing, *, narrow: bool) -> str:
    roles = standing.roles
    if narrow and len(roles) > 1:
        return f"{roles[0]} +{len(roles) - 1}"
    return ", ".join(roles) or "no role"


def _engine(standing: Standing, *, narrow: bool) -> Content:
    sign, style = _ENGINE[standing.engine]
    count = f" ▸{standing.running}" if narrow else f" {standing.running} running"
    running = count if standing.running else ""
    if standing.trial:
        four_eyes = Content.styled("SELF-APPROVAL TRIAL", "$error bold")
    else:
        four_eyes = Content("four eyes: on trust" if narrow or not standing.four_eyes else _first_words(standing))
    return Content.assemble(Content.styled(f"{sign} {standing.engine}{running}", style), " │ ", four_eyes)


def _first_words(standing: Standing) -> str:
    """The mode and its meaning, without the consequence: that is in the tooltip and under `?`."""
    return safe_text("four eyes " + standing.four_eyes.partition(";")[0], 60)
