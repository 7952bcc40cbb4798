"""What the application remembers: kept apart from the settings, shared by its processes, and never in their way."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.model.errors import StorageError
from sealyard_tui.look.memory import Memory, View


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "memory.json"


def test_what_was_told_is_there_at_the_next_start(path: Path) -> None:
    memory = Memory(path)
    assert (memory.screen, memory.view("audit"), memory.choice("theme", "nord")) == ("", View(), "nord")
    memory.saw("audit")
    memory.left("audit", View(filter="author:anna", sort="time"))
    memory.choose("theme", "gruvbox", over="nord")
    memory.write()
    again = Memory(path)
    assert again.screen == "audit"
    assert again.view("audit") == View(filter="author:anna", sort="time")
    assert again.choice("theme", "nord") == "gruvbox"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_changed_setting_counts_more_than_what_was_chosen_over_the_old_one(path: Path) -> None:
    memory = Memory(path)
    memory.choose("theme", "gruvbox", over="nord")
    assert memory.choice("theme", "sealyard-light") == "sealyard-light"


def test_two_applications_do_not_undo_each_others_memory(path: Path) -> None:
    one, other = Memory(path), Memory(path)
    one.left("audit", View(filter="one"))
    other.left("dashboard", View(filter="other"))
    one.write()
    other.write()
    both = Memory(path)
    assert (both.view("audit").filter, both.view("dashboard").filter) == ("one", "other")


def test_nothing_new_writes_nothing(path: Path) -> None:
    memory = Memory(path)
    memory.saw("")
    memory.write()
    assert not path.exists()


def test_what_could_not_be_written_is_written_the_next_time(path: Path) -> None:
    memory = Memory(path)
    memory.saw("audit")
    path.parent.parent.joinpath("state").write_text("in the way")
    with pytest.raises(StorageError):
        memory.write()
    assert memory.screen == "audit"
    path.parent.unlink()
    memory.left("audit", View(filter="x"))
    memory.write()
    assert (Memory(path).screen, Memory(path).view("audit").filter) == ("audit", "x")


def test_a_damaged_memory_is_set_aside_and_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    memory = Memory(path)
    assert memory.screen == ""
    assert "damaged" in memory.warning
