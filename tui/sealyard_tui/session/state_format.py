"""The session in the words of the status bar: identity, workspace, connection, and separation of duties."""

from __future__ import annotations

import re

import msgspec
from textual.content import Content

from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text
from sealyard_tui.formatting import format_clock
from sealyard_tui.session.messages import ConnectionMode, EngineState
from sealyard_tui.session.state import SessionState

_ENGINE_ICONS: dict[EngineState, tuple[str, str]] = {
    EngineState.STARTING: ("…", "$warning"),
    EngineState.READY: ("●", "$success"),
    EngineState.READ_ONLY: ("◌", "$warning"),
    EngineState.RECONNECTING: ("…", "$warning"),
    EngineState.FAILED: ("✗", "$error"),
}
_MODE_TEXTS: dict[ConnectionMode, str] = {
    ConnectionMode.OWNER: "This application owns the workspace; other instances on this machine connect to it.",
    ConnectionMode.ATTACHED: "Connected to another process on this machine that owns the workspace; if it "
    "exits, one of the others takes over.",
    ConnectionMode.READ_ONLY: "Reads the workspace files directly; changes are not possible.",
    ConnectionMode.SERVER: "Connected to the server {host}.",
}
_FOUR_EYES = {ConnectionMode.SERVER: "SoD: enforced"}
"""Short texts, for narrow terminals; in all other modes separation of duties rests on trust."""


def state_summary(state: SessionState) -> list[str]:
    """Return the full text of what the status bar abbreviates."""
    lines = (
        [f"{_separation_of_duties(state).capitalize()} ({escape_text(state.four_eyes)})."] if state.four_eyes else []
    )
    if state.workspace:
        lines.append(_MODE_TEXTS[state.mode].format(host=escape_text(state.host)))
    if state.read_only_reason:
        lines.append(f"Read only: {escape_text(state.read_only_reason)}")
    if state.engine is EngineState.RECONNECTING:
        since, last = (
            format_time(state.connection.reconnecting_since),
            format_time(state.connection.last_answer_at),
        )
        heard = (
            f"the last response was received at {last}; the data shown is from then"
            if last
            else "no response received yet"
        )
        lines.append(f"Connection lost at {since}: {heard}. Reconnecting…")
    return lines


def format_status(state: SessionState, width: int) -> tuple[Content, Content]:
    """Return identity and engine in the longest wording that fits.

    The meaning of four eyes is shortened first, then the names of roles, then ``USER:`` is dropped.
    """
    engines = _engine_texts(state)
    for narrow, engine in (*((False, each) for each in engines), (True, engines[-1])):
        who = _format_identity(state, narrow=narrow)
        if who.cell_length + engine.cell_length <= width:
            return who, engine
    kindless = msgspec.structs.replace(state, identity=state.identity.removeprefix("USER:"))
    return _format_identity(kindless, narrow=True), engines[-1]


def _format_identity(state: SessionState, *, narrow: bool) -> Content:
    name = state.identity.rpartition(":")[2]
    profile = "" if narrow and state.profile == name else f"{escape_text(state.profile, 20)} "
    known = bool(state.workspace)
    return Content.assemble(
        Content.styled(profile, "bold"),
        Content.styled(escape_text(state.identity, 24), "bold"),
        Content.styled(f" ({_roles(state, narrow=narrow)})" if known else "", "$text-muted"),
        Content.styled(" @ ", "$text-muted"),
        Content.styled(_format_workspace(state, narrow=narrow), "bold"),
        Content.styled(" DEMO" if state.demo else "", "$warning bold"),
    )


def _format_workspace(state: SessionState, *, narrow: bool) -> str:
    """Return workspace and server. The server's name has priority: there may be a workspace of the same name on
    another.
    """
    workspace = escape_text(state.workspace, 16 if narrow else 30)
    if not state.host:
        return workspace or "…"
    if narrow:
        return escape_text(re.sub(r":\d+$", "", state.host), 24)
    return f"{workspace} on {escape_text(state.host, 30)}" if workspace else escape_text(state.host, 30)


def _roles(state: SessionState, *, narrow: bool) -> str:
    roles = state.roles
    if narrow and len(roles) > 1:
        return f"{roles[0]} +{len(roles) - 1}"
    return ", ".join(roles) or "no role"


def _engine_texts(state: SessionState) -> list[Content]:
    """Return the wordings, longest first."""
    sign, style = _ENGINE_ICONS[state.engine]
    return [
        Content.assemble(Content.styled(f"{sign} {state}", style), *(" │ ", four_eyes) if four_eyes else ())
        for state, four_eyes in (
            _disconnected_text(state) if state.engine is EngineState.RECONNECTING else _location_text(state)
        )
    ]


def _location_text(state: SessionState) -> list[tuple[str, Content]]:
    count = state.running
    long = f"{state.engine} {count} running" if count else state.engine
    short = f"{state.engine} ▸{count}" if count else state.engine
    return [(long, _four_eyes(state)), (short, _four_eyes(state, narrow=True))]


def _disconnected_text(state: SessionState) -> list[tuple[str, Content]]:
    """Return the wordings while disconnected; the self-approval trial is never left out."""
    link, four_eyes = state.connection, _four_eyes(state, narrow=True)
    last_answer = f"last response {format_clock(link.last_answer_at)}" if link.last_answer_at else "no response yet"
    since = f"reconnecting since {format_clock(link.reconnecting_since)}"
    least = four_eyes if state.self_approval else Content("")
    return [(f"{since} ({last_answer})", four_eyes), (f"{since} ({last_answer})", least), (since, least)]


def _four_eyes(state: SessionState, *, narrow: bool = False) -> Content:
    if state.self_approval:
        return Content.styled("SELF-APPROVAL TRIAL", "$error bold")
    short = narrow or not state.four_eyes
    return Content(_FOUR_EYES.get(state.mode, "SoD: not enforced") if short else _separation_of_duties(state))


def _separation_of_duties(state: SessionState) -> str:
    """Return whether separation of duties is enforced; the reason is in the tooltip and the help."""
    return f"separation of duties: {'enforced' if state.mode is ConnectionMode.SERVER else 'not enforced'}"
