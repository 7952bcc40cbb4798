"""Test `sealyard config`: path, show, check, schema and example."""

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


def _show_settings() -> dict[str, dict[str, object]]:
    return {each["key"]: each for each in value_of("config", "show")["settings"]}


def test_path_reports_location_and_existence(file: Path) -> None:
    assert sealyard("config", "path").out == f"{file}\n"
    assert value_of("config", "path") == {"path": str(file), "exists": False}
    file.touch()
    assert value_of("config", "path")["exists"] is True


def test_show_reports_values_and_origins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("bell = false\n[keymap]\n'app.help' = 'f1'\n")
    monkeypatch.setenv("SEALYARD_THEME", "nord")
    settings = _show_settings()
    assert settings["bell"] == {"key": "bell", "value": False, "origin": "file"}
    assert settings["theme"] == {"key": "theme", "value": "nord", "origin": "SEALYARD_THEME"}
    assert settings["watch.on_drop"] == {"key": "watch.on_drop", "value": "propose", "origin": "default"}
    assert settings["keymap"]["value"] == {"app.help": "f1"}
    lines = [line.split() for line in sealyard("config", "show").out.splitlines()]
    assert ["theme", '"nord"', "SEALYARD_THEME"] in lines


def test_show_reports_no_color_as_origin(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("theme = 'nord'\n")
    monkeypatch.setenv("NO_COLOR", "1")
    assert _show_settings()["theme"] == {"key": "theme", "value": "ansi-dark", "origin": "NO_COLOR"}


def test_check_invalid_file_exits_with_2(file: Path) -> None:
    assert sealyard("config", "check").code == 0
    file.write_text("mouse = 1\n")
    for arguments in (("config", "check"), ("config", "show")):
        result = sealyard(*arguments, "--json")
        assert result.code == 2
        assert str(file) in result.value["error"]["message"]
        assert result.value["error"]["hint"]


def test_check_reports_all_unknown_keys_and_show_ignores_them(file: Path) -> None:
    file.write_text("readOnly = true\ntheme = 'nord'\n[watch]\nfoldr = '/drop'\n")
    error = sealyard("config", "check", "--json").value["error"]
    assert "unknown key 'readOnly'" in error["message"]
    assert "Did you mean watch.folder?" in error["message"]
    assert "read_only" in error["hint"]
    assert sealyard("config", "check").code == 2
    value = value_of("config", "show")
    assert [each["code"] for each in value["ignored"]] == ["usage", "usage"]
    assert _show_settings()["theme"]["value"] == "nord"
    assert f"! Ignored: {file}: unknown key 'readOnly'." in sealyard("config", "show").out.splitlines()


def test_path_schema_example_ignore_broken_file(file: Path) -> None:
    file.write_text("= [")
    for command in ("path", "schema", "example"):
        assert sealyard("config", command).code == 0


def test_config_variable_selects_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    monkeypatch.setenv("SEALYARD_CONFIG", str(other))
    assert value_of("config", "path")["path"] == str(other)
    assert sealyard("config", "check").code == 2
    other.write_text("compact = true")
    assert _show_settings()["compact"]["origin"] == "file"


def test_schema_is_always_json() -> None:
    assert json.loads(sealyard("config", "schema").out) == value_of("config", "schema")


def test_example_is_valid_settings_file(file: Path) -> None:
    text = sealyard("config", "example").out
    assert convert(tomllib.loads(text), Settings, "example") == Settings()
    file.write_text(text)
    assert sealyard("config", "check").code == 0
    assert value_of("config", "example")["toml"].splitlines() == text.splitlines()
