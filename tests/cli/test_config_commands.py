"""`sealyard config`: where the settings are, what holds and why, and what is wrong with them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from sealyard.client.config.settings_loader import Settings, convert
from tests.support.cli_runner import sealyard, value_of


@pytest.fixture
def file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SEALYARD_CONFIG", "SEALYARD_THEME", "NO_COLOR", "TEXTUAL_ANIMATIONS"):
        monkeypatch.delenv(name, raising=False)
    path = home / "config" / "sealyard" / "settings.toml"
    path.parent.mkdir(parents=True)
    return path


def _settings() -> dict[str, dict[str, object]]:
    return {each["key"]: each for each in value_of("config", "show")["settings"]}


def test_path_says_where_and_whether_it_is_there(file: Path) -> None:
    assert sealyard("config", "path").out == f"{file}\n"
    assert value_of("config", "path") == {"path": str(file), "exists": False}
    file.touch()
    assert value_of("config", "path")["exists"] is True


def test_show_says_what_holds_and_where_it_comes_from(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("bell = false\n[keymap]\n'app.help' = 'f1'\n")
    monkeypatch.setenv("SEALYARD_THEME", "nord")
    shown = _settings()
    assert shown["bell"] == {"key": "bell", "value": False, "origin": "file"}
    assert shown["theme"] == {"key": "theme", "value": "nord", "origin": "SEALYARD_THEME"}
    assert shown["watch.on_drop"] == {"key": "watch.on_drop", "value": "propose", "origin": "default"}
    assert shown["keymap"]["value"] == {"app.help": "f1"}
    lines = [line.split() for line in sealyard("config", "show").out.splitlines()]
    assert ["theme", '"nord"', "SEALYARD_THEME"] in lines


def test_no_color_is_seen_as_the_reason_of_the_theme(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("theme = 'nord'\n")
    monkeypatch.setenv("NO_COLOR", "1")
    assert _settings()["theme"] == {"key": "theme", "value": "ansi-dark", "origin": "NO_COLOR"}


def test_check_is_content_or_leaves_with_2_and_says_what_is_wrong(file: Path) -> None:
    assert sealyard("config", "check").code == 0
    file.write_text("readOnly = true\n")
    for words in (("config", "check"), ("config", "show")):
        ran = sealyard(*words, "--json")
        assert ran.code == 2
        assert str(file) in ran.value["error"]["message"]
        assert "read_only" in ran.value["error"]["hint"]


def test_a_broken_file_does_not_hide_path_schema_or_example(file: Path) -> None:
    file.write_text("= [")
    for word in ("path", "schema", "example"):
        assert sealyard("config", word).code == 0


def test_the_variable_names_another_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    monkeypatch.setenv("SEALYARD_CONFIG", str(other))
    assert value_of("config", "path")["path"] == str(other)
    assert sealyard("config", "check").code == 2
    other.write_text("compact = true")
    assert _settings()["compact"]["origin"] == "file"


def test_the_schema_is_one_json_value_either_way() -> None:
    assert json.loads(sealyard("config", "schema").out) == value_of("config", "schema")


def test_the_example_can_be_saved_as_the_file(file: Path) -> None:
    text = sealyard("config", "example").out
    assert convert(tomllib.loads(text), Settings, "example") == Settings()
    file.write_text(text)
    assert sealyard("config", "check").code == 0
    assert value_of("config", "example")["toml"].splitlines() == text.splitlines()
