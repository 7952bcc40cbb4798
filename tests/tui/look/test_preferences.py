"""What a person set up and what they chose since: which counts, and what is told of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.client.config.settings_loader import Settings
from sealyard.client.config.state_file import state_path
from sealyard_tui.look.memory import Memory, View
from sealyard_tui.look.preferences import Preferences, read_preferences
from sealyard_tui.screens.place import Place


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "memory.json")


def test_a_look_chosen_at_run_time_holds_until_the_setting_changes(memory: Memory) -> None:
    before = Preferences(Settings(theme="nord"), memory, environ={})
    assert (before.theme, before.compact) == ("nord", False)
    before.choose_theme("gruvbox")
    before.choose_compact(True)
    again = Preferences(Settings(theme="nord"), memory, environ={})
    assert (again.theme, again.compact) == ("gruvbox", True)
    edited = Preferences(Settings(theme="sealyard-light", compact=True), memory, environ={})
    assert (edited.theme, edited.compact) == ("sealyard-light", True)


def test_no_color_counts_more_than_what_was_chosen(memory: Memory) -> None:
    Preferences(Settings(), memory, environ={}).choose_theme("gruvbox")
    assert Preferences(Settings(), memory, environ={"NO_COLOR": "1"}).theme == "ansi-dark"


def test_the_last_screen_is_the_one_that_was_seen_last(memory: Memory) -> None:
    assert Preferences(Settings(start_screen="last"), memory).first_screen == ""
    memory.saw("audit")
    assert Preferences(Settings(start_screen="last"), memory).first_screen == "audit"
    assert Preferences(Settings(start_screen="upload"), memory).first_screen == "upload"


def test_the_settings_filter_is_for_the_first_screen_only(memory: Memory) -> None:
    memory.left("audit", View(filter="author:anna"))
    memory.left("dashboard", View(filter="mine"))
    preferences = Preferences(Settings(start_filter="state:expired"), memory)
    assert preferences.view("dashboard") == View(filter="state:expired")
    assert preferences.view("audit") == View(filter="author:anna")


def test_broken_themes_keys_and_memory_are_reported_together_and_the_rest_holds(tmp_path: Path) -> None:
    folder = tmp_path / "themes"
    folder.mkdir()
    (folder / "mine.toml").write_text('name = "mine"\nprimary = "#336699"')
    (folder / "broken.toml").write_text("primary = 3")
    damaged = state_path("application", "memory")
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    settings = Settings(theme="mine", keymap={"place.refresh": "f9", "place.fly": "x", "place.filter": "escape"})
    preferences = read_preferences(settings, {"SEALYARD_CONFIG": str(tmp_path / "settings.toml")})
    assert preferences.theme == "mine"
    assert preferences.keymap((Place,)) == {"place.refresh": "f9"}
    told = [report.message for report in preferences.reports]
    for words in ("broken.toml", "damaged", "place.fly", "place.filter stays on slash"):
        assert any(words in message for message in told)
    assert len(told) == 4


def test_without_a_memory_the_choice_holds_for_this_run() -> None:
    preferences = Preferences(Settings(), environ={})
    preferences.choose_theme("nord")
    preferences.choose_compact(True)
    assert (preferences.theme, preferences.compact, preferences.view("audit")) == ("nord", True, View())
