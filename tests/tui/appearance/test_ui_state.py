"""Tests of the state file of the application."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.model.errors import StorageError
from sealyard_tui.appearance.ui_state import ScreenState, UiStateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "memory.json"


def test_saved_state_is_loaded_again(path: Path) -> None:
    memory = UiStateFile(path)
    assert (memory.screen, memory.view("audit"), memory.get_override("theme", "nord")) == ("", ScreenState(), "nord")
    memory.set_screen("audit")
    memory.set_screen_state("audit", ScreenState(filter="author:anna", sort="time"))
    memory.set_override("theme", "gruvbox", replaces="nord")
    memory.write()
    reloaded = UiStateFile(path)
    assert reloaded.screen == "audit"
    assert reloaded.view("audit") == ScreenState(filter="author:anna", sort="time")
    assert reloaded.get_override("theme", "nord") == "gruvbox"
    assert path.stat().st_mode & 0o777 == 0o600


def test_override_of_old_setting_is_ignored(path: Path) -> None:
    memory = UiStateFile(path)
    memory.set_override("theme", "gruvbox", replaces="nord")
    assert memory.get_override("theme", "sealyard-light") == "sealyard-light"


def test_concurrent_writers_keep_both_changes(path: Path) -> None:
    one, other = UiStateFile(path), UiStateFile(path)
    one.set_screen_state("audit", ScreenState(filter="one"))
    other.set_screen_state("dashboard", ScreenState(filter="other"))
    one.write()
    other.write()
    both = UiStateFile(path)
    assert (both.view("audit").filter, both.view("dashboard").filter) == ("one", "other")


def test_unchanged_state_is_not_written(path: Path) -> None:
    memory = UiStateFile(path)
    memory.set_screen("")
    memory.write()
    assert not path.exists()


def test_failed_write_is_retried_with_next_write(path: Path) -> None:
    memory = UiStateFile(path)
    memory.set_screen("audit")
    path.parent.parent.joinpath("state").write_text("in the way")
    with pytest.raises(StorageError):
        memory.write()
    assert memory.screen == "audit"
    path.parent.unlink()
    memory.set_screen_state("audit", ScreenState(filter="x"))
    memory.write()
    assert (UiStateFile(path).screen, UiStateFile(path).view("audit").filter) == ("audit", "x")


def test_damaged_file_sets_warning(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    memory = UiStateFile(path)
    assert memory.screen == ""
    assert "damaged" in memory.warning
