"""Tests of the status bar at several widths."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from textual import on

from sealyard.client.http.status import ConnectionStatus
from sealyard.model.access import Role
from sealyard.model.formatting import format_time
from sealyard_tui.formatting import format_clock
from sealyard_tui.screens.base import SCREENS
from sealyard_tui.session.messages import ConnectionMode, EngineState
from sealyard_tui.session.state import SessionState
from sealyard_tui.session.state_format import format_status, state_summary
from sealyard_tui.widgets.status_bar import ScreenTab, StatusBar
from tests.tui.pilot_helpers import wait_until
from tests.tui.widget_app import HOSTILE, WidgetApp, is_harmless

STATE = SessionState(
    profile="dana",
    identity="USER:developer",
    engine=EngineState.READY,
    roles=(Role.DEVELOPER, Role.AUDITOR),
    has_permissions=True,
    workspace="gateway yard",
    workspace_id="w1",
    separation_of_duties_note="embedded: anyone with this account can act as any user",
    running=2,
    awaiting_my_approval=3,
)


class StatusBarApp(WidgetApp):
    def __init__(self) -> None:
        super().__init__(StatusBar({name: label for name, (_, label) in SCREENS.items()}, "approvals"))
        self.clicked_screens: list[str] = []

    @on(ScreenTab.Clicked)
    def _clicked(self, event: ScreenTab.Clicked) -> None:
        self.clicked_screens.append(event.screen_name)

    def show(self, **changes: object) -> None:
        state = msgspec.structs.replace(STATE, **changes)
        bar = self.query_one(StatusBar)
        identity, engine = format_status(state, bar.text_width)
        details = "\n".join(state_summary(state))
        bar.show(identity, engine, details=details, counts={"approvals": state.awaiting_my_approval})


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_session_state_is_visible_at_any_width(width: int) -> None:
    app = StatusBarApp()
    async with app.run_test(size=(width, 24)) as pilot:
        app.show()
        await pilot.pause()
        text = app.text()
        separation = "no separation of duties" if width == 80 else "separation of duties: not enforced"
        for words in ("dana", "developer (developer", "gateway yard", "● ready", separation, "3 Approvals·3"):
            assert words in text, words
        for _, label in SCREENS.values():
            assert label in text


async def test_wide_bar_names_separation_of_duties() -> None:
    app = StatusBarApp()
    async with app.run_test(size=(160, 24)) as pilot:
        app.show()
        await pilot.pause()
        await wait_until(pilot, lambda: "separation of duties: not enforced" in app.text())
        await wait_until(pilot, lambda: "developer, auditor" in app.text())


async def test_self_approval_is_shown_at_80_columns() -> None:
    app = StatusBarApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.show(self_approval=True, demo=True, roles=(Role.DEVELOPER,), running=0)
        await pilot.pause()
        await wait_until(pilot, lambda: "SELF-APPROVAL TRIAL" in app.text())
        await wait_until(pilot, lambda: "DEMO" in app.text())


@pytest.mark.parametrize("state", EngineState)
async def test_engine_states_have_word_and_symbol(state: EngineState) -> None:
    app = StatusBarApp()
    async with app.run_test(size=(120, 24)) as pilot:
        app.show(engine=state)
        await pilot.pause()
        line = next(line for line in app.text().splitlines() if state in line)
        assert line[line.index(f" {state}") - 1] in "…●◌✗"


@pytest.mark.parametrize("width", [57, 77, 117, 200])
@pytest.mark.parametrize("mode", ConnectionMode)
@pytest.mark.parametrize("engine", EngineState)
def test_every_state_shows_separation_of_duties(engine: EngineState, mode: ConnectionMode, width: int) -> None:
    state = msgspec.structs.replace(STATE, engine=engine, mode=mode, connection=LOST)
    _, text = format_status(state, width)
    enforced = ("separation of duties: enforced", "separation of duties: on")
    not_enforced = ("separation of duties: not enforced", "no separation of duties")
    assert text.plain.endswith(enforced if mode is ConnectionMode.SERVER else not_enforced)


def test_self_approval_trial_disables_separation_of_duties() -> None:
    state = msgspec.structs.replace(STATE, mode=ConnectionMode.SERVER, self_approval=True)
    _, text = format_status(state, 200)
    assert text.plain.endswith("no separation of duties: SELF-APPROVAL TRIAL")
    assert state_summary(state)[0] == "Separation of duties: not enforced (self-approval trial)."


LOST = ConnectionStatus(
    last_answer_at=datetime(2026, 11, 23, 14, 2, 5, tzinfo=UTC),
    reconnecting_since=datetime(2026, 11, 23, 14, 2, 11, tzinfo=UTC),
)


def reconnecting_text(status: ConnectionStatus) -> str:
    return f"reconnecting since {format_clock(status.reconnecting_since)}"


@pytest.mark.parametrize("width", [80, 100, 120, 200])
async def test_lost_connection_shows_times_at_any_width(
    width: int,
) -> None:
    app = StatusBarApp()
    async with app.run_test(size=(width, 24)) as pilot:
        app.show(engine=EngineState.RECONNECTING, connection=LOST)
        await pilot.pause()
        assert reconnecting_text(LOST) in app.text()
        assert (f"(last response {format_clock(LOST.last_answer_at)})" in app.text()) is (width >= 120)
        assert "no separation of duties" in app.text() or "separation of duties: not enforced" in app.text()


async def test_unreached_server_shows_no_response_yet() -> None:
    app = StatusBarApp()
    async with app.run_test(size=(120, 24)) as pilot:
        unreached = ConnectionStatus(reconnecting_since=LOST.reconnecting_since)
        app.show(
            engine=EngineState.RECONNECTING,
            connection=unreached,
            workspace="",
            has_permissions=False,
            host="seal.example:8443",
            mode=ConnectionMode.SERVER,
        )
        await pilot.pause()
        assert f"{reconnecting_text(unreached)} (no response yet)" in app.text()
        assert "seal.example:8443" in app.text()


async def test_lost_connection_keeps_self_approval_trial_visible() -> None:
    app = StatusBarApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.show(engine=EngineState.RECONNECTING, connection=LOST, self_approval=True, roles=(), profile="developer")
        await pilot.pause()
        assert "SELF-APPROVAL TRIAL" in app.text()
        assert reconnecting_text(LOST) in app.text()


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (80, ("@ seal.example ", "separation of duties: on")),
        (160, ("@ gateway yard on seal.example:8443", "separation of duties: enforced")),
    ],
)
async def test_server_bar_shows_host_and_dual_control(width: int, words: tuple[str, ...]) -> None:
    app = StatusBarApp()
    async with app.run_test(size=(width, 24)) as pilot:
        app.show(
            mode=ConnectionMode.SERVER,
            host="seal.example:8443",
            separation_of_duties_note="on a server: people are authenticated, nobody approves what they asked for",
            running=0,
        )
        await pilot.pause()
        for each in words:
            assert each in app.text()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (ConnectionMode.OWNER, "This application owns the workspace"),
        (ConnectionMode.ATTACHED, "Connected to another process"),
        (ConnectionMode.SERVER, "Connected to the server yard.example"),
    ],
)
def test_summary_describes_connection_mode(mode: ConnectionMode, words: str) -> None:
    summary = state_summary(msgspec.structs.replace(STATE, mode=mode, host="yard.example"))
    assert any(each.startswith(words) for each in summary)


def test_summary_shows_age_of_data() -> None:
    lost = msgspec.structs.replace(STATE, engine=EngineState.RECONNECTING, connection=LOST)
    assert format_time(LOST.last_answer_at) in state_summary(lost)[-1]
    assert "the data shown is from then" in state_summary(lost)[-1]


async def test_zero_pending_approvals_show_no_count() -> None:
    app = StatusBarApp()
    async with app.run_test() as pilot:
        app.show(awaiting_my_approval=0)
        await pilot.pause()
        assert "Approvals·" not in app.text()


async def test_click_on_tab_posts_screen_name() -> None:
    app = StatusBarApp()
    async with app.run_test() as pilot:
        tab = next(each for each in app.query(ScreenTab) if each.screen_name == "audit")
        await pilot.click(tab)
        await wait_until(pilot, lambda: app.clicked_screens == ["audit"])


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_escaped(name: str) -> None:
    app = StatusBarApp()
    async with app.run_test(size=(120, 24)) as pilot:
        app.show(profile=name, workspace=name, identity=f"USER:{name}", separation_of_duties_note=name)
        await pilot.pause()
        assert is_harmless(app.text())


async def test_tabs_fit_60_columns_with_count() -> None:
    app = StatusBarApp()
    async with app.run_test(size=(60, 18)) as pilot:
        app.show(awaiting_my_approval=12)
        await pilot.pause()
        tabs = app.text().splitlines()[0]
        assert " ".join(tabs.split()) == "1 Dashbo… 2 Upload 3 Approv…·12 4 Audit 5 Devices 6 Access"
        await pilot.resize_terminal(80, 24)
        app.show(awaiting_my_approval=12)
        await pilot.pause()
        await wait_until(pilot, lambda: "1 Dashboard" in app.text())
