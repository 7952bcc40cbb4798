"""Status bar text: identity, workspace, connection, and separation of duties."""

from __future__ import annotations

import re
from enum import IntEnum

from textual.content import Content

from sealyard.client.http.status import ConnectionStatus
from sealyard.model.formatting import format_count, format_time
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import format_subject
from sealyard_tui.formatting import format_clock
from sealyard_tui.session.messages import ConnectionMode, EngineState
from sealyard_tui.session.state import SessionState

_ENGINE_ICONS: dict[EngineState, tuple[str, str]] = {
    EngineState.STARTING: ("…", "$warning"),
    EngineState.UNVERIFIED: ("◌", "$warning"),
    EngineState.READY: ("●", "$success"),
    EngineState.READ_ONLY: ("◌", "$warning"),
    EngineState.RECONNECTING: ("…", "$warning"),
    EngineState.FAILED: ("✗", "$error"),
}
_MODE_TEXTS: dict[ConnectionMode, str] = {
    ConnectionMode.OWNER: "This application owns the workspace; other instances on this machine connect to it.",
    ConnectionMode.ATTACHED: "Connected to another process on this machine that owns the workspace; if it "
    "exits, one of the others takes over.",
    ConnectionMode.READ_ONLY: "Reads the workspace files directly, without verifying them; changes are not possible.",
    ConnectionMode.SERVER: "Connected to the server {host}.",
}

_UNVERIFIED_TEXT = "The data was read without the key store and is not verified yet; actions are possible when it is."

MIN_IDENTITY_WIDTH = 20
"""The identity may be truncated to this many columns before the time of a connection loss is omitted."""


class _Brevity(IntEnum):
    """Levels of abbreviation for a narrow status bar. Each level shortens or omits one more item."""

    FULL = 0
    SHORT_ENGINE = 1
    SHORT_IDENTITY = 2
    NO_SUBJECT_KIND = 3
    NO_RUNNING_COUNT = 4
    NO_ROLES = 5
    NO_LAST_RESPONSE = 6
    NO_PROFILE = 7
    NO_CONNECTION_TIME = 8


def format_status(state: SessionState, width: int, pending_changes: int = 0) -> tuple[Content, Content]:
    """Return the identity and the engine state in the longest form that fits into ``width`` columns.

    If none fits, the shortest form is returned. The engine state always includes the numbers of failing keys and key
    providers, for administrators, and of ``pending_changes``, if there are any, and whether separation of duties is
    enforced.
    """
    pending = Content.styled(f"{pending_changes} pending ", "$warning bold") if pending_changes else Content("")
    keys = _format_key_failures(state)
    for brevity in _Brevity:
        identity = _format_identity(state, brevity)
        engine = Content.assemble(keys, pending, _format_engine(state, brevity))
        limit = MIN_IDENTITY_WIDTH if brevity is _Brevity.NO_PROFILE else width
        if min(identity.cell_length, limit) + engine.cell_length <= width:
            break
    return identity, engine


def _format_key_failures(state: SessionState) -> Content:
    if not state.is_administrator:
        return Content("")
    counts = ((len(state.provider_failures), "key provider"), (len(state.key_failures), "key"))
    text = "".join(f"{format_count(count, noun)} failing " for count, noun in counts if count)
    return Content.styled(text, "$error bold")


def state_summary(state: SessionState) -> list[str]:
    """Return the details of the session as lines of text, for the tooltip of the status bar and the help."""
    lines = []
    if state.identity in state.subject_names:
        lines.append(f"You are {escape_text(format_subject(state.identity, state.subject_names))}.")
    if state.separation_of_duties_note:
        lines.append(_separation_of_duties_summary(state))
    if state.engine is EngineState.UNVERIFIED:
        lines.append(_UNVERIFIED_TEXT)
    elif state.workspace:
        lines.append(_MODE_TEXTS[state.mode].format(host=escape_text(state.host)))
    if state.read_only_reason:
        lines.append(f"Read only: {escape_text(state.read_only_reason)}")
    if state.clock_warning:
        lines.append(escape_text(state.clock_warning))
    lines += [escape_text(failure) for failure in (*state.provider_failures, *state.key_failures)]
    if state.engine is EngineState.RECONNECTING:
        lines.append(_connection_summary(state.connection))
    return lines


def _separation_of_duties_summary(state: SessionState) -> str:
    reason = "self-approval trial" if state.self_approval else state.separation_of_duties_note
    return f"Separation of duties: {_enforcement_text(state)} ({escape_text(reason)})."


def _connection_summary(connection: ConnectionStatus) -> str:
    last_answer = format_time(connection.last_answer_at)
    last_response = (
        f"the last response was received at {last_answer}; the data shown is from then"
        if last_answer
        else "no response received yet"
    )
    return f"Connection lost at {format_time(connection.reconnecting_since)}: {last_response}. Reconnecting…"


# ---- identity


def _format_identity(state: SessionState, brevity: _Brevity) -> Content:
    subject = state.identity.removeprefix("USER:") if brevity >= _Brevity.NO_SUBJECT_KIND else state.identity
    subject = state.subject_names.get(state.identity) or subject
    has_roles = state.has_permissions and brevity < _Brevity.NO_ROLES
    return Content.assemble(
        Content.styled(_format_profile(state, brevity), "bold"),
        Content.styled(escape_text(subject, 24), "bold"),
        Content.styled(f" ({_format_roles(state, brevity)})" if has_roles else "", "$text-muted"),
        Content.styled(" @ ", "$text-muted"),
        Content.styled(_format_workspace(state, brevity), "bold"),
        Content.styled(" DEMO" if state.demo else "", "$warning bold"),
    )


def _format_profile(state: SessionState, brevity: _Brevity) -> str:
    """Return the profile name and a space, or an empty string if the status bar is too narrow.

    A profile with the same name as the identity is omitted earlier.
    """
    is_redundant = state.profile == state.identity.rpartition(":")[2] and brevity >= _Brevity.SHORT_IDENTITY
    return "" if is_redundant or brevity >= _Brevity.NO_PROFILE else f"{escape_text(state.profile, 20)} "


def _format_roles(state: SessionState, brevity: _Brevity) -> str:
    roles = state.roles
    if brevity >= _Brevity.SHORT_IDENTITY and len(roles) > 1:
        return f"{roles[0]} +{len(roles) - 1}"
    return ", ".join(roles) or "no role"


def _format_workspace(state: SessionState, brevity: _Brevity) -> str:
    """Return the workspace and its server, if any; on a narrow bar, only the server.

    The server is more important because workspace names are not unique.
    """
    is_short = brevity >= _Brevity.SHORT_IDENTITY
    workspace = escape_text(state.workspace, 16 if is_short else 30)
    if not state.host:
        return workspace or "…"
    if is_short:
        return escape_text(re.sub(r":\d+$", "", state.host), 24)
    return f"{workspace} on {escape_text(state.host, 30)}" if workspace else escape_text(state.host, 30)


# ---- engine


def _format_engine(state: SessionState, brevity: _Brevity) -> Content:
    icon, style = _ENGINE_ICONS[state.engine]
    text = (
        _connection_text(state, brevity) if state.engine is EngineState.RECONNECTING else _engine_text(state, brevity)
    )
    return Content.assemble(
        Content.styled(f"{icon} {text}", style), " │ ", _format_separation_of_duties(state, brevity)
    )


def _engine_text(state: SessionState, brevity: _Brevity) -> str:
    if state.engine is EngineState.READ_ONLY and not state.store_verified:
        return f"{state.engine}, unverified"
    if not state.running or brevity >= _Brevity.NO_RUNNING_COUNT:
        return state.engine
    count = f"▸{state.running}" if brevity >= _Brevity.SHORT_ENGINE else f"{state.running} running"
    return f"{state.engine} {count}"


def _connection_text(state: SessionState, brevity: _Brevity) -> str:
    if brevity >= _Brevity.NO_CONNECTION_TIME:
        return state.engine
    since = f"reconnecting since {format_clock(state.connection.reconnecting_since)}"
    if brevity >= _Brevity.NO_LAST_RESPONSE:
        return since
    last_answer = format_clock(state.connection.last_answer_at)
    return f"{since} ({f'last response {last_answer}' if last_answer else 'no response yet'})"


def _format_separation_of_duties(state: SessionState, brevity: _Brevity) -> Content:
    """Return a text stating whether separation of duties is enforced; the tooltip and the help give the reason."""
    is_short = brevity >= _Brevity.SHORT_ENGINE
    if state.self_approval:
        trial = Content.styled("SELF-APPROVAL TRIAL", "$error bold")
        return trial if is_short else Content.assemble("no separation of duties: ", trial)
    if not is_short:
        return Content(f"separation of duties: {_enforcement_text(state)}")
    return Content("separation of duties: on" if _is_enforced(state) else "no separation of duties")


def _enforcement_text(state: SessionState) -> str:
    return "enforced" if _is_enforced(state) else "not enforced"


def _is_enforced(state: SessionState) -> bool:
    """Return whether separation of duties is enforced.

    This requires a server, because only servers authenticate users, and that self-approval is not allowed.
    """
    return state.mode is ConnectionMode.SERVER and not state.self_approval
