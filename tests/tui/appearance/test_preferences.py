"""Tests of the precedence of settings, saved state and environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.client.config.settings_loader import Settings
from sealyard.client.config.state_file import state_path
from sealyard_tui.appearance.preferences import Preferences, load_preferences
from sealyard_tui.appearance.ui_state import ScreenState, UiStateFile
from sealyard_tui.screens.base import BaseScreen


@pytest.fixture
def memory(tmp_path: Path) -> UiStateFile:
    return UiStateFile(tmp_path / "memory.json")


def test_runtime_choice_yields_to_changed_setting(memory: UiStateFile) -> None:
    before = Preferences(Settings(theme="nord"), memory, environ={})
    assert (before.theme, before.compact) == ("nord", False)
    before.choose_theme("gruvbox")
    before.choose_compact(True)
    restarted = Preferences(Settings(theme="nord"), memory, environ={})
    assert (restarted.theme, restarted.compact) == ("gruvbox", True)
    edited = Preferences(Settings(theme="sealyard-light", compact=True), memory, environ={})
    assert (edited.theme, edited.compact) == ("sealyard-light", True)


def test_no_color_overrides_chosen_theme(memory: UiStateFile) -> None:
    Preferences(Settings(), memory, environ={}).choose_theme("gruvbox")
    assert Preferences(Settings(), memory, environ={"NO_COLOR": "1"}).theme == "ansi-dark"


def test_start_screen_last_uses_saved_screen(memory: UiStateFile) -> None:
    assert Preferences(Settings(start_screen="last"), memory).first_screen == ""
    memory.set_screen("audit")
    assert Preferences(Settings(start_screen="last"), memory).first_screen == "audit"
    assert Preferences(Settings(start_screen="upload"), memory).first_screen == "upload"


def test_start_filter_applies_to_first_screen_only(memory: UiStateFile) -> None:
    memory.set_screen_state("audit", ScreenState(filter="author:anna"))
    memory.set_screen_state("dashboard", ScreenState(filter="mine"))
    preferences = Preferences(Settings(start_filter="state:expired"), memory)
    assert preferences.view("dashboard") == ScreenState(filter="state:expired")
    assert preferences.view("audit") == ScreenState(filter="author:anna")


def test_invalid_inputs_are_reported_together(tmp_path: Path) -> None:
    folder = tmp_path / "themes"
    folder.mkdir()
    (folder / "mine.toml").write_text('name = "mine"\nprimary = "#336699"')
    (folder / "broken.toml").write_text("primary = 3")
    damaged = state_path("application", "memory")
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    (tmp_path / "settings.toml").write_text("them = 'mine'")
    settings = Settings(theme="mine", keymap={"screen.refresh": "f9", "screen.fly": "x", "screen.filter": "escape"})
    preferences = load_preferences(settings, {"SEALYARD_CONFIG": str(tmp_path / "settings.toml")})
    assert preferences.theme == "mine"
    assert preferences.keymap((BaseScreen,)) == {"screen.refresh": "f9"}
    messages = [report.message for report in preferences.ignored]
    for words in ("unknown key 'them'", "broken.toml", "damaged", "screen.fly", "screen.filter stays on slash"):
        assert any(words in message for message in messages)
    assert len(messages) == 5


def test_choice_without_state_file_lasts_for_process() -> None:
    preferences = Preferences(Settings(), environ={})
    preferences.choose_theme("nord")
    preferences.choose_compact(True)
    assert (preferences.theme, preferences.compact, preferences.view("audit")) == ("nord", True, ScreenState())
