"""How the application looks and listens: as set up, as changed while it runs, and again at the next start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from sealyard.client.config.settings_loader import Settings
from sealyard_tui.app import SealyardApp, keymap_classes
from sealyard_tui.appearance.appearance import COMPACT
from sealyard_tui.appearance.keymap import GUARDED_ACTIONS, NAVIGATION_KEYS, bindings_of
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.ui_state import ScreenState, UiStateFile
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.session import Session
from sealyard_tui.terminal.mouse import is_mouse_enabled
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import PROFILES, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.json"


def _app(
    workspace: TuiWorkspace, path: Path | None = None, environ: dict[str, str] | None = None, **changes: Any
) -> SealyardApp:
    settings = Settings(bell=False, **changes)
    memory = UiStateFile(path) if path is not None else None
    preferences = Preferences(settings, memory, environ=environ or {})
    session = Session(FakeConnection(workspace), PROFILES[2], PROFILES)
    return SealyardApp(session, settings, now=lambda: workspace.now, preferences=preferences)


async def test_the_settings_theme_is_on_from_the_first_paint(workspace: TuiWorkspace) -> None:
    app = _app(workspace, theme="sealyard-light")
    async with run_app(app):
        assert app.theme == "sealyard-light"


def _colours(app: SealyardApp) -> set[str]:
    """All that would reach the terminal."""
    found: set[str] = set()
    for strip in app.screen._compositor.render_strips():
        sent = strip
        for each in app.get_line_filters():
            sent = sent.apply_filter(each, app.screen.background_colors[1])
        for segment in sent:
            if segment.style is not None:
                found |= {colour.name for colour in (segment.style.color, segment.style.bgcolor) if colour is not None}
    return found


@pytest.mark.parametrize("variable", ["1", "", None])
async def test_no_color_is_truly_colourless_whatever_textual_makes_of_it(
    workspace: TuiWorkspace, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {} if variable is None else {"NO_COLOR": variable}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    app = _app(workspace, environ=environ, theme="sealyard-light")
    async with run_app(app) as pilot:
        assert app.theme == ("ansi-dark" if variable else "sealyard-light")
        assert (_colours(app) == {"default"}) is bool(variable)
        await pilot.press("question_mark")
        await pilot.pause()
        assert (_colours(app) == {"default"}) is bool(variable)


async def test_nothing_moves_unless_that_was_asked_for(workspace: TuiWorkspace) -> None:
    async with run_app(app := _app(workspace)):
        assert app.animation_level == "none"
    async with run_app(app := _app(workspace, animations="full")):
        assert app.animation_level == "full"


async def test_a_theme_is_seen_while_it_is_looked_at_and_esc_brings_the_old_one_back(
    workspace: TuiWorkspace, path: Path
) -> None:
    app = _app(workspace, path)
    async with run_app(app) as pilot:
        app.search_themes()
        await pilot.pause()
        await pilot.press("down")
        await wait_until(pilot, lambda: app.theme == "sealyard-light")
        await pilot.press("k", "escape")
        await pilot.press("down")
        await wait_until(pilot, lambda: app.theme == "sealyard-dark")


async def test_a_chosen_theme_and_compact_mode_are_there_at_the_next_start(workspace: TuiWorkspace, path: Path) -> None:
    app = _app(workspace, path)
    async with run_app(app) as pilot:
        app.search_themes()
        await pilot.pause()
        await pilot.press("j", "j", "enter")
        await pilot.press("f4")
        assert app.theme == "sealyard-deuteranopia"
        assert app.has_class(COMPACT)
    async with run_app(again := _app(workspace, path)):
        assert again.theme == "sealyard-deuteranopia"
        assert again.has_class(COMPACT)


async def test_the_theme_that_is_on_is_the_one_the_cursor_begins_on(workspace: TuiWorkspace) -> None:
    app = _app(workspace, theme="nord")
    async with run_app(app) as pilot:
        app.search_themes()
        await pilot.pause()
        assert app.theme == "nord"
        options = app.screen.query_one(OptionList)
        assert options.highlighted is not None
        assert options.get_option_at_index(options.highlighted).id == "nord"


async def test_the_last_place_is_the_first_one_where_that_is_set(workspace: TuiWorkspace, path: Path) -> None:
    app = _app(workspace, path, start_screen="last")
    async with run_app(app) as pilot:
        assert app.current_mode == "dashboard"
        await pilot.press("4")
        await wait_for_workers(pilot)
    async with run_app(again := _app(workspace, path, start_screen="last")):
        assert again.current_mode == "audit"
    async with run_app(other := _app(workspace, path, start_screen="approvals")):
        assert other.current_mode == "approvals"


async def test_filter_and_order_of_a_place_are_remembered(workspace: TuiWorkspace, path: Path) -> None:
    app = _app(workspace, path)
    async with run_app(app):
        place = app.screen
        assert isinstance(place, BaseScreen)
        place.save_state(filter="state:expired")
        place.save_state(sort="age")
        assert place.saved_state == ScreenState(filter="state:expired", sort="age")
    async with run_app(again := _app(workspace, path)):
        place = again.screen
        assert isinstance(place, BaseScreen)
        assert place.saved_state == ScreenState(filter="state:expired", sort="age")


async def test_a_memory_that_cannot_be_written_is_told_and_stops_nothing(
    workspace: TuiWorkspace, tmp_path: Path
) -> None:
    app = _app(workspace, tmp_path / "state" / "memory.json")
    async with run_app(app) as pilot:
        (tmp_path / "state").write_text("in the way")
        await pilot.press("2")
        await app.appearance.save()
        await wait_until(pilot, lambda: "memory.json" in screen_text(app).replace("\n", ""))
        assert app.current_mode == "upload"


async def test_the_mouse_is_given_back_and_taken_again_by_one_key(workspace: TuiWorkspace) -> None:
    app = _app(workspace)
    async with run_app(app) as pilot:
        driver = app._driver
        assert driver is not None
        await pilot.press("f3")
        assert not is_mouse_enabled(driver)
        await wait_until(pilot, lambda: "Mouse input disabled; the terminal handles the mouse." in screen_text(app))
        await pilot.press("f3")
        assert is_mouse_enabled(driver)


async def test_a_persons_keys_hold_and_those_that_cannot_are_told(workspace: TuiWorkspace) -> None:
    app = _app(workspace, keymap={"app.audit": "f9", "app.upload": "3", "app.nothing": "x"}, theme="nowhere")
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "3 of your settings ignored" in screen_text(app))
        await pilot.press("f9")
        assert app.current_mode == "audit"
        await pilot.press("exclamation_mark")
        await pilot.pause()
        seen = screen_text(app)
        for words in ("Unknown theme nowhere", "app.upload stays on 2", "unknown action app.nothing"):
            assert words in seen
        await pilot.press("escape", "2")
        assert app.current_mode == "upload"


async def test_where_nothing_was_left_out_the_key_says_nothing(workspace: TuiWorkspace) -> None:
    app = _app(workspace)
    async with run_app(app) as pilot:
        before = app.screen
        await pilot.press("exclamation_mark")
        assert app.screen is before


def test_every_key_of_ours_can_be_changed() -> None:
    nameless = [
        (cls.__name__, binding)
        for cls in keymap_classes()
        for binding in vars(cls).get("BINDINGS", ())
        if isinstance(binding, tuple) or binding.id is None
    ]
    assert nameless == []


def test_no_grave_action_is_on_a_motion() -> None:
    grave = {
        action: keys
        for action, keys in bindings_of(keymap_classes()).items()
        if action.partition(".")[2] in GUARDED_ACTIONS
    }
    assert grave != {}
    assert [action for action, keys in grave.items() if set(keys) & set(NAVIGATION_KEYS)] == []
