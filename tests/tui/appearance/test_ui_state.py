"""What the application remembers: kept apart from the settings, shared by its processes, and never in their way."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.model.errors import StorageError
from sealyard_tui.appearance.ui_state import ScreenState, UiStateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "memory.json"


def test_what_was_told_is_there_at_the_next_start(path: Path) -> None:
    memory = UiStateFile(path)
    assert (memory.screen, memory.view("audit"), memory.get_override("theme", "nord")) == ("", ScreenState(), "nord")
    memory.set_screen("audit")
    memory.set_screen_state("audit", ScreenState(filter="author:anna", sort="time"))
    memory.set_override("theme", "gruvbox", replaces="nord")
    memory.write()
    again = UiStateFile(path)
    assert again.screen == "audit"
    assert again.view("audit") == ScreenState(filter="author:anna", sort="time")
    assert again.get_override("theme", "nord") == "gruvbox"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_changed_setting_counts_more_than_what_was_chosen_over_the_old_one(path: Path) -> None:
    memory = UiStateFile(path)
    memory.set_override("theme", "gruvbox", replaces="nord")
    assert memory.get_override("theme", "sealyard-light") == "sealyard-light"


def test_two_applications_do_not_undo_each_others_memory(path: Path) -> None:
    one, other = UiStateFile(path), UiStateFile(path)
    one.set_screen_state("audit", ScreenState(filter="one"))
    other.set_screen_state("dashboard", ScreenState(filter="other"))
    one.write()
    other.write()
    both = UiStateFile(path)
    assert (both.view("audit").filter, both.view("dashboard").filter) == ("one", "other")


def test_nothing_new_writes_nothing(path: Path) -> None:
    memory = UiStateFile(path)
    memory.set_screen("")
    memory.write()
    assert not path.exists()


def test_what_could_not_be_written_is_written_the_next_time(path: Path) -> None:
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


def test_a_damaged_memory_is_set_aside_and_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    memory = UiStateFile(path)
    assert memory.screen == ""
    assert "damaged" in memory.warning
