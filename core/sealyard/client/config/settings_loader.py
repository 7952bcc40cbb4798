"""Loading of the settings. An invalid value is an error that names the file, key and expected value.

Unknown keys of the settings file are ignored and reported, so that a file for another version does not stop the start.
Other TOML files have no unknown keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import inspect

from sealyard.client.config.settings import (
    CONFIG_VARIABLE,
    NO_COLOR_THEME,
    Animations,
    Settings,
    WatchFolderSettings,
    editor_command,
    no_color,
    settings_path,
    settings_schema,
)
from sealyard.client.config.settings_errors import (
    format_path,
    format_value,
    invalid_value_error,
    is_text,
    unknown_key_error,
)
from sealyard.model.base import FrozenStruct
from sealyard.model.display_zone import load_zone
from sealyard.model.errors import ErrorInfo, UsageError
from sealyard.model.safe_text import escape_text

__all__ = [
    "CONFIG_VARIABLE",
    "NO_COLOR_THEME",
    "EffectiveSettings",
    "Settings",
    "WatchFolderSettings",
    "convert",
    "editor_command",
    "effective_settings",
    "ignored_settings",
    "load_settings",
    "no_color",
    "read_toml",
    "setting_keys",
    "settings_path",
    "settings_schema",
    "value_at",
]

DEFAULT = "default"
FILE = "file"
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

S = TypeVar("S", bound=FrozenStruct)


class EffectiveSettings(FrozenStruct, frozen=True, kw_only=True):
    """The settings in effect and the source of each value.

    ``origins`` maps each key (for example ``watch.folder``) to ``default``, ``file`` or the name of the environment
    variable that set it. ``ignored`` contains an error for each unknown key of the file.
    """

    settings: Settings
    path: str
    origins: dict[str, str]
    ignored: tuple[ErrorInfo, ...]


def load_settings(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Load the settings from the file at ``path``, overridden by the environment.

    Returns the defaults if the file does not exist, and ignores its unknown keys. Raises :class:`UsageError` if the
    file or a variable is invalid, or if `SEALYARD_CONFIG` names a file that does not exist.
    """
    return effective_settings(path, environ).settings


def ignored_settings(path: Path, environ: Mapping[str, str] = os.environ) -> tuple[ErrorInfo, ...]:
    """Return an error for each unknown key of the settings file. Raises the errors of :func:`load_settings`."""
    return effective_settings(path, environ).ignored


def effective_settings(path: Path, environ: Mapping[str, str] = os.environ) -> EffectiveSettings:
    """Load the settings like :func:`load_settings`, with the source of each value."""
    file_table = read_toml(path, must_exist=bool(environ.get(CONFIG_VARIABLE)))
    table, errors = _drop_unknown_keys(file_table, _key_types(Settings), "", str(path))
    settings = convert(table, Settings, str(path))
    sources = {key: FILE if _has_key(table, key) else DEFAULT for key in setting_keys()}
    overrides, variables = _read_overrides(environ)
    settings = _apply_overrides(settings, overrides)
    load_zone(settings.time_zone)
    return EffectiveSettings(
        settings=settings,
        path=str(path),
        origins={**sources, **variables},
        ignored=tuple(error.to_info() for error in errors),
    )


def setting_keys() -> tuple[str, ...]:
    """Return the keys of all settings. Keys in a table have the form ``watch.folder``."""
    return tuple(_key_types(Settings))


def value_at(settings: Settings, key: str) -> object:
    """Return the value of ``key``, one of :func:`setting_keys`."""
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def read_toml(path: Path, *, must_exist: bool = False) -> dict[str, Any]:
    """Return the contents of a TOML file, or an empty table if the file does not exist.

    Raises :class:`UsageError` if the file cannot be read or is not valid TOML, or if it does not exist and
    ``must_exist`` is set.
    """
    try:
        text = path.read_bytes().decode()
        import tomllib  # imported here because most users have no settings file and need not wait for the import

        return tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        if must_exist:
            raise UsageError(
                f"Settings file {format_path(path)} not found.", f"Create it, or unset {CONFIG_VARIABLE}."
            ) from None
        return {}
    except UnicodeDecodeError as error:
        raise UsageError(
            f"Invalid UTF-8 in {format_path(path)} (byte {error.start + 1}).", "Save the file as UTF-8."
        ) from error
    except RecursionError as error:
        raise UsageError(
            f"Invalid TOML in {format_path(path)}: nested too deeply.", "Fix or remove the file."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"Invalid TOML in {format_path(path)}: {escape_text(str(error), 200)}.",
            "Fix or remove the file.",
        ) from error
    except OSError as error:
        raise UsageError(
            f"Cannot read {format_path(path)}: {escape_text(error.strerror or '')}.",
            "Check the path and its permissions.",
        ) from error


def convert(table: Mapping[str, Any], kind: type[S], source: str) -> S:
    """Convert a TOML table to a struct of type ``kind``. ``source`` names the file in error messages.

    Raises :class:`UsageError` for the first missing, unknown or invalid key.
    """
    key_types = _key_types(kind)
    _check_keys(table, key_types, "", source)
    fields = msgspec.structs.fields(kind)
    missing_key = next((field.name for field in fields if field.required and field.name not in table), "")
    if missing_key:
        raise UsageError(
            f"{escape_text(source)}: missing key {missing_key}.",
            f"Add {missing_key}: {_describe_expected(key_types[missing_key])}.",
        )
    return msgspec.convert(table, kind)


def _check_keys(table: Mapping[str, Any], key_types: Mapping[str, inspect.Type], prefix: str, source: str) -> None:
    for name, value in table.items():
        key = f"{prefix}{name}"
        if nested_types := _nested_types(key_types, prefix, name):
            if not isinstance(value, dict):
                raise invalid_value_error(source, key, "a table", value)
            _check_keys(value, nested_types, f"{key}.", source)
            continue
        if key not in key_types or "." in name:
            raise unknown_key_error(source, key, key_types)
        if not _is_valid(value, key_types[key]):
            raise invalid_value_error(source, key, _describe_expected(key_types[key]), value)


def _drop_unknown_keys(
    table: Mapping[str, Any], key_types: Mapping[str, inspect.Type], prefix: str, source: str
) -> tuple[dict[str, Any], list[UsageError]]:
    """Return ``table`` without unknown keys, and an error for each of them."""
    known: dict[str, Any] = {}
    errors: list[UsageError] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        nested_types = _nested_types(key_types, prefix, name)
        if nested_types and isinstance(value, dict):
            known[name], nested_errors = _drop_unknown_keys(value, nested_types, f"{key}.", source)
            errors.extend(nested_errors)
        elif nested_types or (key in key_types and "." not in name):
            known[name] = value
        else:
            errors.append(unknown_key_error(source, key, key_types))
    return known, errors


def _nested_types(key_types: Mapping[str, inspect.Type], prefix: str, name: str) -> dict[str, inspect.Type]:
    """Return the types of the keys in the table ``name``; empty if it is not a table."""
    if "." in name:  # a quoted key, which is not a table
        return {}
    return {key: kind for key, kind in key_types.items() if key.startswith(f"{prefix}{name}.")}


@cache
def _key_types(kind: type[FrozenStruct], prefix: str = "") -> dict[str, inspect.Type]:
    """Return the type of each key of ``kind``, with the keys of nested tables as ``table.key``."""
    types: dict[str, inspect.Type] = {}
    for field in msgspec.structs.fields(kind):
        field_type = inspect.type_info(field.type)
        if isinstance(field_type, inspect.Metadata):
            field_type = field_type.type
        if isinstance(field_type, inspect.UnionType):  # a table, or an array of such tables
            structs = (member for member in field_type.types if isinstance(member, inspect.StructType))
            field_type = next(structs, field_type)
        if isinstance(field_type, inspect.StructType):
            types.update(_key_types(field_type.cls, f"{prefix}{field.name}."))
        else:
            types[f"{prefix}{field.name}"] = field_type
    return types


def _is_valid(value: object, kind: inspect.Type) -> bool:
    match kind:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.FloatType(ge=low, le=high):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and _require_bound(low) <= value <= _require_bound(high)  # type: ignore[operator]
        case inspect.DictType():
            return isinstance(value, dict) and all(is_text(text) for text in value.values())
    return is_text(value) and (not (choices := _list_choices(kind)) or value in choices)


def _describe_expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.FloatType(ge=low, le=high):
            return f"a number from {_require_bound(low):g} to {_require_bound(high):g}"
        case inspect.DictType():
            return "a table of single-line strings"
    choices = _list_choices(kind)
    return f"one of {', '.join(choices)}" if choices else "a single-line string in quotes"


def _list_choices(kind: inspect.Type) -> tuple[str, ...]:
    match kind:
        case inspect.LiteralType(values=values):
            return tuple(str(choice) for choice in values)
        case inspect.EnumType(cls=cls):
            return tuple(str(member.value) for member in cls)
    return ()


def _require_bound(bound: float | None) -> float:
    assert bound is not None, "a numeric setting needs both bounds"
    return bound


# ---- the environment


def _read_overrides(environ: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the values set by environment variables, and the names of these variables, both by settings key.

    Tables with arbitrary keys cannot be set by a variable.
    """
    values: dict[str, object] = {}
    variables: dict[str, str] = {}
    for key, kind in _key_types(Settings).items():
        variable = _variable_name(key, environ)
        if not isinstance(kind, inspect.DictType) and variable in environ:
            values[key] = _parse_variable(variable, environ[variable], kind)
            variables[key] = variable
    if no_color(environ):
        values["theme"], variables["theme"] = NO_COLOR_THEME, "NO_COLOR"
    return values, variables


def _variable_name(key: str, environ: Mapping[str, str]) -> str:
    variable = f"SEALYARD_{key.replace('.', '_').upper()}"
    textual_animations = environ.get("TEXTUAL_ANIMATIONS")
    if key == "animations" and variable not in environ and textual_animations in get_args(Animations):
        return "TEXTUAL_ANIMATIONS"
    return variable


def _parse_variable(variable: str, text: str, kind: inspect.Type) -> object:
    value: object = text
    match kind:
        case inspect.BoolType():
            value = _BOOLEANS.get(text.strip().lower())
        case inspect.FloatType():
            value = _parse_number(text)
    if not _is_valid(value, kind) or not _is_unicode(text):
        expected_text = "1 or 0" if isinstance(kind, inspect.BoolType) else _describe_expected(kind)
        raise UsageError(
            f"Invalid {variable}: expected {expected_text}, got {format_value(text)}.",
            "Correct or unset the variable.",
        )
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _apply_overrides(settings: Settings, overrides: Mapping[str, object]) -> Settings:
    table = msgspec.to_builtins(settings)
    for key, value in overrides.items():
        *tables, name = key.split(".")
        target = table
        for table_name in tables:
            target = target[table_name]
        target[name] = value
    return msgspec.convert(table, Settings)


def _has_key(table: Mapping[str, Any], key: str) -> bool:
    value: Any = table
    for name in key.split("."):
        if name not in value:
            return False
        value = value[name]
    return True
