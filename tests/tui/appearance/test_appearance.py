"""Tests of the appearance settings: at start, changed at run time, and after a restart."""

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
from tests.tui.pilot_helpers import PROFILES, assert_visible, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.json"


def _make_app(
    workspace: TuiWorkspace, path: Path | None = None, environ: dict[str, str] | None = None, **changes: Any
) -> SealyardApp:
    settings = Settings(bell=False, **changes)
    memory = UiStateFile(path) if path is not None else None
    preferences = Preferences(settings, memory, environ=environ or {})
    session = Session(FakeConnection(workspace), PROFILES[2], PROFILES)
    return SealyardApp(session, settings, now=lambda: workspace.now, preferences=preferences)


async def test_configured_theme_is_applied_at_start(workspace: TuiWorkspace) -> None:
    app = _make_app(workspace, theme="sealyard-light")
    async with run_app(app):
        assert app.theme == "sealyard-light"


def _rendered_colours(app: SealyardApp) -> set[str]:
    """Return the colours of the rendered screen, after the line filters."""
    colours: set[str] = set()
    for strip in app.screen._compositor.render_strips():
        filtered = strip
        for each in app.get_line_filters():
            filtered = filtered.apply_filter(each, app.screen.background_colors[1])
        for segment in filtered:
            if segment.style is not None:
                colours |= {
                    colour.name for colour in (segment.style.color, segment.style.bgcolor) if colour is not None
                }
    return colours


@pytest.mark.parametrize("variable", ["1", "", None])
async def test_no_color_removes_all_colours(
    workspace: TuiWorkspace, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {} if variable is None else {"NO_COLOR": variable}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    app = _make_app(workspace, environ=environ, theme="sealyard-light")
    async with run_app(app) as pilot:
        assert app.theme == ("ansi-dark" if variable else "sealyard-light")
        assert (_rendered_colours(app) == {"default"}) is bool(variable)
        await pilot.press("question_mark")
        await pilot.pause()
        assert (_rendered_colours(app) == {"default"}) is bool(variable)


async def test_animations_are_off_by_default(workspace: TuiWorkspace) -> None:
    async with run_app(app := _make_app(workspace)):
        assert app.animation_level == "none"
    async with run_app(app := _make_app(workspace, animations="full")):
        assert app.animation_level == "full"


async def test_theme_preview_is_reverted_by_escape(workspace: TuiWorkspace, path: Path) -> None:
    app = _make_app(workspace, path)
    async with run_app(app) as pilot:
        app.search_themes()
        await pilot.pause()
        await pilot.press("down")
        await wait_until(pilot, lambda: app.theme == "sealyard-light")
        await pilot.press("k", "escape")
        await pilot.press("down")
        await wait_until(pilot, lambda: app.theme == "sealyard-dark")


async def test_theme_and_compact_mode_survive_restart(workspace: TuiWorkspace, path: Path) -> None:
    app = _make_app(workspace, path)
    async with run_app(app) as pilot:
        app.search_themes()
        await pilot.pause()
        await pilot.press("j", "j", "enter")
        await pilot.press("f4")
        assert app.theme == "sealyard-deuteranopia"
        assert app.has_class(COMPACT)
    async with run_app(restarted := _make_app(workspace, path)):
        assert restarted.theme == "sealyard-deuteranopia"
        assert restarted.has_class(COMPACT)


async def test_theme_search_highlights_current_theme(workspace: TuiWorkspace) -> None:
    app = _make_app(workspace, theme="nord")
    async with run_app(app) as pilot:
        app.search_themes()
        await pilot.pause()
        assert app.theme == "nord"
        options = app.screen.query_one(OptionList)
        assert options.highlighted is not None
        assert options.get_option_at_index(options.highlighted).id == "nord"


async def test_start_screen_last_restores_previous_screen(workspace: TuiWorkspace, path: Path) -> None:
    app = _make_app(workspace, path, start_screen="last")
    async with run_app(app) as pilot:
        assert app.current_mode == "dashboard"
        await pilot.press("4")
        await wait_for_workers(pilot)
    async with run_app(restarted := _make_app(workspace, path, start_screen="last")):
        assert restarted.current_mode == "audit"
    async with run_app(other := _make_app(workspace, path, start_screen="approvals")):
        assert other.current_mode == "approvals"


async def test_screen_filter_and_sort_survive_restart(workspace: TuiWorkspace, path: Path) -> None:
    app = _make_app(workspace, path)
    async with run_app(app):
        screen = app.screen
        assert isinstance(screen, BaseScreen)
        screen.save_state(filter="state:expired")
        screen.save_state(sort="age")
        assert screen.saved_state == ScreenState(filter="state:expired", sort="age")
    async with run_app(restarted := _make_app(workspace, path)):
        screen = restarted.screen
        assert isinstance(screen, BaseScreen)
        assert screen.saved_state == ScreenState(filter="state:expired", sort="age")


async def test_unwritable_state_file_shows_warning(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = _make_app(workspace, tmp_path / "state" / "memory.json")
    (tmp_path / "state").write_text("in the way")
    async with run_app(app) as pilot:
        await pilot.press("2")
        await app.appearance.save()
        await wait_until(pilot, lambda: any("memory.json" in each.message for each in app._notifications))
        assert app.current_mode == "upload"


async def test_f3_toggles_mouse_input(workspace: TuiWorkspace) -> None:
    app = _make_app(workspace)
    async with run_app(app) as pilot:
        driver = app._driver
        assert driver is not None
        await pilot.press("f3")
        assert not is_mouse_enabled(driver)
        await assert_visible(pilot, "Mouse input disabled; the terminal handles")
        await pilot.press("f3")
        assert is_mouse_enabled(driver)


async def test_keymap_applies_valid_and_reports_invalid_keys(workspace: TuiWorkspace) -> None:
    app = _make_app(workspace, keymap={"app.audit": "f9", "app.upload": "3", "app.nothing": "x"}, theme="nowhere")
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "3 of your settings ignored" in screen_text(app))
        await pilot.press("f9")
        assert app.current_mode == "audit"
        await pilot.press("exclamation_mark")
        await pilot.pause()
        text = screen_text(app)
        for words in ("Unknown theme nowhere", "app.upload stays on 2", "unknown action app.nothing"):
            assert words in text
        await pilot.press("escape", "2")
        assert app.current_mode == "upload"


async def test_settings_report_key_without_reports_does_nothing(workspace: TuiWorkspace) -> None:
    app = _make_app(workspace)
    async with run_app(app) as pilot:
        before = app.screen
        await pilot.press("exclamation_mark")
        assert app.screen is before


def test_all_bindings_have_an_id() -> None:
    nameless = [
        (cls.__name__, binding)
        for cls in keymap_classes()
        for binding in vars(cls).get("BINDINGS", ())
        if isinstance(binding, tuple) or binding.id is None
    ]
    assert nameless == []


def test_guarded_actions_use_no_navigation_keys() -> None:
    grave = {
        action: keys
        for action, keys in bindings_of(keymap_classes()).items()
        if action.partition(".")[2] in GUARDED_ACTIONS
    }
    assert grave != {}
    assert [action for action, keys in grave.items() if set(keys) & set(NAVIGATION_KEYS)] == []
