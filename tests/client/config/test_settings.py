"""Test settings: strict parsing, error messages, and overrides by the environment."""

from __future__ import annotations

import json
import string
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sealyard.client.config.settings import DropAction
from sealyard.client.config.settings_example import render_example as example_file
from sealyard.client.config.settings_loader import (
    NO_COLOR_THEME,
    Settings,
    WatchFolderSettings,
    convert,
    editor_command,
    effective_settings,
    load_settings,
    setting_keys,
    settings_path,
    settings_schema,
    value_at,
)
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

T = TypeVar("T")

SOURCE = "/etc/settings.toml"


def _parse(text: str) -> Settings:
    return convert(tomllib.loads(text), Settings, SOURCE)


def _parse_error(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        _parse(text)
    return caught.value


def _run_or_catch(action: Callable[[], T]) -> T | UsageError:
    try:
        return action()
    except UsageError as error:
        return error


def test_example_contains_all_keys_and_defaults() -> None:
    text = example_file()
    assert _parse(text) == Settings()
    assert all(f"\n{key.rpartition('.')[2]} = " in text or f"\n[{key}]\n" in text for key in setting_keys())


def test_every_key_can_be_set() -> None:
    text = """
        theme = "nord"
        compact = true
        mouse = false
        animations = "full"
        bell = false
        desktop_notifications = true
        read_only = true
        start_screen = "last"
        start_filter = "state:expired"
        download_dir = "~/results"
        auto_download = false
        editor = "vim -n"
        refresh_interval = 5
        socket_group = "firmware"
        allow_private_webhooks = true
        key_check_minutes = 5
        symbols = "ascii"
        time_zone = "Europe/Berlin"
        [watch]
        folder = "/drop"
        device = "gateway"
        on_drop = "submit"
        settle = 10
        force_polling = true
        justification = "nightly build"
        [keymap]
        "app.help" = "f1,?"
    """
    result = _parse(text)
    assert all(value_at(result, key) != value_at(Settings(), key) for key in setting_keys())
    assert result.watch == WatchFolderSettings(
        folder="/drop",
        device="gateway",
        on_drop=DropAction.SUBMIT,
        settle=10,
        force_polling=True,
        justification="nightly build",
    )
    assert result.keymap == {"app.help": "f1,?"}
    assert result.refresh_interval == 5.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("readOnly = true", "write read_only"),
        ("read-only = true", "write read_only"),
        ("watch.Folder = 'x'", "write watch.folder"),
        ("theem = 'x'", "Did you mean theme?"),
        ("[watch]\nfoldr = 'x'", "Did you mean watch.folder?"),
        ('"watch.folder" = "x"', "in the table [watch]"),
        ("zzzz = 1", "unknown key 'zzzz'"),
        ("bogus = 1", "unknown key 'bogus'. The example"),
        ("watch = 3", "invalid watch: expected a table, got 3"),
        ("mouse = 1", "invalid mouse: expected true or false, got 1"),
        ("compact = 'true'", "invalid compact: expected true or false, got 'true'"),
        ("theme = true", "invalid theme: expected a single-line string"),
        ("theme = 1979-05-27", "invalid theme: expected a single-line string"),
        ('theme = "a\\nb"', "invalid theme: expected a single-line string"),
        ("start_screen = 'home'", "expected one of access, approvals"),
        ("watch.on_drop = 'ask'", "invalid watch.on_drop: expected one of propose, submit, got 'ask'"),
        ("refresh_interval = 0", "invalid refresh_interval: expected a number from 0.2 to 3600, got 0"),
        ("refresh_interval = nan", "expected a number"),
        ("refresh_interval = true", "expected a number"),
        (f"refresh_interval = 0x{'f' * 9000}", "a number from 0.2 to 3600, got a large number"),
        (
            "[keymap]\na = 1",
            "invalid keymap: expected a table of single-line strings, got a table with an invalid value of a",
        ),
        ("keymap = []", "invalid keymap: expected a table of single-line strings, got a list"),
    ],
)
def test_invalid_setting_error_names_file_and_key(text: str, expected: str) -> None:
    error = _parse_error(text)
    assert error.message.startswith(f"{SOURCE}: ")
    assert expected in str(error)
    assert error.hint


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from([key.partition(".")[0] for key in setting_keys()]) | st.text()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys, values, max_size=4))
def test_any_table_parses_or_is_rejected(table: dict[str, Any]) -> None:
    result = _run_or_catch(lambda: convert(table, Settings, SOURCE))
    if isinstance(result, UsageError):
        assert str(result) == escape_text(str(result))
        assert len(str(result)) < 500
    else:
        assert msgspec.convert(msgspec.to_builtins(result), Settings) == result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(max_size=60) | st.text("[]{}=.\"'#\n\\ab1-:", max_size=60).map(str.encode))
@example(b"theme = '\xff'")
@example(b"a=" + b"[" * 5000)
@example(b"a = " + b"9" * 5000)
@example(b"a = 2020-13-45")
def test_any_bytes_parse_or_are_rejected(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    result = _run_or_catch(lambda: load_settings(file, {}))
    assert isinstance(result, Settings) or str(file) in result.message


@pytest.mark.parametrize(
    "unknown",
    ["bogus = 1", "readOnly = true", '"watch.folder" = "x"', "watch.bogus = {a = 1}", "[bogus.watch]\nx = []"],
)
def test_unknown_key_is_ignored_and_reported(file: Path, unknown: str) -> None:
    file.write_text(f"theme = 'nord'\n{unknown}\n")
    result = effective_settings(file, {})
    assert result.settings == Settings(theme="nord")
    assert [error.message.startswith(f"{file}: unknown key '") for error in result.ignored] == [True]


def test_missing_file_returns_defaults(file: Path) -> None:
    assert load_settings(file, {}) == Settings()


def test_file_named_by_variable_must_exist(file: Path) -> None:
    environ = {"SEALYARD_CONFIG": str(file)}
    assert settings_path(environ) == file
    with pytest.raises(UsageError, match="not found"):
        load_settings(settings_path(environ), environ)
    with pytest.raises(UsageError, match="Cannot read"):
        load_settings(file.parent, environ)


def test_default_file_is_in_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings_path({}) == tmp_path / "sealyard" / "settings.toml"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("SEALYARD_THEME", "nord", "theme", "nord"),
        ("SEALYARD_MOUSE", "0", "mouse", False),
        ("SEALYARD_READ_ONLY", "1", "read_only", True),
        ("SEALYARD_COMPACT", "Yes", "compact", True),
        ("SEALYARD_BELL", "off", "bell", False),
        ("SEALYARD_START_SCREEN", "audit", "start_screen", "audit"),
        ("SEALYARD_START_FILTER", "", "start_filter", ""),
        ("SEALYARD_TIME_ZONE", "UTC", "time_zone", "UTC"),
        ("SEALYARD_REFRESH_INTERVAL", "2.5", "refresh_interval", 2.5),
        ("SEALYARD_WATCH_ON_DROP", "submit", "watch.on_drop", "submit"),
        ("TEXTUAL_ANIMATIONS", "basic", "animations", "basic"),
        ("NO_COLOR", "anything", "theme", NO_COLOR_THEME),
    ],
)
def test_environment_overrides_file(file: Path, variable: str, text: str, key: str, value: object) -> None:
    file.write_text("theme = 'gruvbox'\nstart_filter = 'x'\nanimations = 'full'\n")
    result = effective_settings(file, {variable: text})
    assert value_at(result.settings, key) == value
    assert result.origins[key] == variable
    others = {each: origin for each, origin in result.origins.items() if each != key}
    assert {each for each, origin in others.items() if origin == "file"} == {"theme", "start_filter", "animations"} - {
        key
    }
    assert set(others.values()) <= {"file", "default"}


def test_environment_variables_follow_precedence(file: Path) -> None:
    result = load_settings(
        file,
        {
            "SEALYARD_ANIMATIONS": "none",
            "TEXTUAL_ANIMATIONS": "full",
            "SEALYARD_THEME": "nord",
            "NO_COLOR": "1",
        },
    )
    assert (result.animations, result.theme) == ("none", NO_COLOR_THEME)


def test_invalid_foreign_variables_are_ignored(file: Path) -> None:
    assert load_settings(file, {"TEXTUAL_ANIMATIONS": "wild", "NO_COLOR": "", "SEALYARD_KEYMAP": "x"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("SEALYARD_MOUSE", "maybe", "1 or 0"),
        ("SEALYARD_MOUSE", "", "1 or 0"),
        ("SEALYARD_START_SCREEN", "home", "one of access"),
        ("SEALYARD_REFRESH_INTERVAL", "inf", "a number from 0.2 to 3600"),
        ("SEALYARD_REFRESH_INTERVAL", "soon", "a number"),
        ("SEALYARD_START_FILTER", "a\x1bb", "a single-line string"),
        ("SEALYARD_DOWNLOAD_DIR", "/tmp/\udcff", "a single-line string"),
    ],
)
def test_invalid_variable_is_reported(file: Path, variable: str, text: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(file, {variable: text})
    assert caught.value.message.startswith(f"Invalid {variable}: expected ")
    assert expected in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "/etc/passwd", "../etc", "", "utc "])
def test_unknown_time_zone_is_an_error(file: Path, name: str) -> None:
    file.write_text(f"time_zone = '{name}'\n")
    with pytest.raises(UsageError, match="Unknown time zone") as caught:
        load_settings(file, {})
    assert "Europe/Berlin" in caught.value.hint


def test_schema_contains_exactly_all_keys() -> None:
    schema: Any = settings_schema()
    definitions = schema["$defs"]
    top = definitions["Settings"]
    assert set(top["properties"]) == {key.partition(".")[0] for key in setting_keys()}
    assert top["additionalProperties"] is False
    watch_keys = {"folder", "device", "on_drop", "settle", "force_polling", "justification"}
    assert set(definitions["WatchFolderSettings"]["properties"]) == watch_keys
    assert json.loads(json.dumps(schema)) == schema


def test_editor_setting_precedes_environment() -> None:
    environ = {"VISUAL": "code --wait", "EDITOR": "vi"}
    assert editor_command(Settings(editor="'my editor' -n"), environ) == ("my editor", "-n")
    assert editor_command(Settings(), environ) == ("code", "--wait")
    assert editor_command(Settings(), {"EDITOR": "vi"}) == ("vi",)


def test_unset_editor_falls_back_to_installed_one(tmp_path: Path) -> None:
    for name in ("nano", "vi"):
        (tmp_path / name).touch(mode=0o755)
    assert editor_command(Settings(), {"PATH": str(tmp_path)}) == (str(tmp_path / "vi"),)
    (tmp_path / "vi").unlink()
    assert editor_command(Settings(), {"PATH": str(tmp_path), "EDITOR": " "}) == (str(tmp_path / "nano"),)


@pytest.mark.parametrize("text", ["", " ", "'vi"])
def test_missing_or_invalid_editor_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match=r"\$EDITOR"):
        editor_command(Settings(), {"EDITOR": text})


@given(st.text(string.printable, max_size=30))
def test_any_editor_parses_or_is_rejected(text: str) -> None:
    result = _run_or_catch(lambda: editor_command(Settings(editor=text), {}))
    assert result.hint if isinstance(result, UsageError) else len(result) > 0
