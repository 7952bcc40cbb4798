"""Reads the settings strictly: what is not understood is an error that names file, key and what was expected."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
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
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
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
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_LONGEST = 60
_LARGE = 10**9

S = TypeVar("S", bound=FrozenStruct)


class EffectiveSettings(FrozenStruct, frozen=True, kw_only=True):
    """``origins``: for each key (``watch.folder``) ``default``, ``file`` or the variable that set it."""

    settings: Settings
    path: str
    origins: dict[str, str]


def load_settings(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """The file's settings under those of the environment. Without the file, the defaults.

    Raises :class:`UsageError`; also where the file is missing that `SEALYARD_CONFIG` names.
    """
    return effective_settings(path, environ).settings


def effective_settings(path: Path, environ: Mapping[str, str] = os.environ) -> EffectiveSettings:
    """Like :func:`load_settings`, with where each value comes from."""
    table = read_toml(path, must_exist=bool(environ.get(CONFIG_VARIABLE)))
    settings = convert(table, Settings, str(path))
    origins = {key: FILE if _has(table, key) else DEFAULT for key in setting_keys()}
    overrides, variables = _overrides(environ)
    return EffectiveSettings(settings=_merge(settings, overrides), path=str(path), origins={**origins, **variables})


def setting_keys() -> tuple[str, ...]:
    """All keys, those of tables as ``watch.folder``."""
    return tuple(_types(Settings))


def value_at(settings: Settings, key: str) -> object:
    """The value of one of :func:`setting_keys`."""
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def read_toml(path: Path, *, must_exist: bool = False) -> dict[str, Any]:
    """An empty table where there is no file. Raises :class:`UsageError`."""
    try:
        text = path.read_bytes().decode()
        import tomllib  # most have no file: they need not wait for it

        return tomllib.loads(text)
    except FileNotFoundError:
        if must_exist:
            raise UsageError(f"{_shown(path)} is not there.", f"Make it, or unset {CONFIG_VARIABLE}.") from None
        return {}
    except UnicodeDecodeError as error:
        raise UsageError(f"{_shown(path)} is not UTF-8 (byte {error.start + 1}).", "Save it as UTF-8.") from error
    except RecursionError as error:
        raise UsageError(f"{_shown(path)} is no TOML: nested too deeply.", "Mend it, or move it away.") from error
    except ValueError as error:
        raise UsageError(
            f"{_shown(path)} is no TOML: {escape_text(str(error), 200)}.",
            "Mend the line, or move the file away; `sealyard config example` shows a whole one.",
        ) from error
    except OSError as error:
        raise UsageError(
            f"{_shown(path)} cannot be read: {escape_text(error.strerror or '')}.", "Mend it, or move it away."
        ) from error


def convert(table: Mapping[str, Any], kind: type[S], source: str) -> S:
    """The table as a value of ``kind``. Raises :class:`UsageError` for the first key that is wrong."""
    types = _types(kind)
    _check(table, types, "", source)
    missing = next((each.name for each in msgspec.structs.fields(kind) if each.required and each.name not in table), "")
    if missing:
        raise UsageError(
            f"{escape_text(source)}: {missing} is missing.", f"Add {missing}: {_expected(types[missing])}."
        )
    return msgspec.convert(table, kind)


def _check(table: Mapping[str, Any], types: Mapping[str, inspect.Type], prefix: str, source: str) -> None:
    for name, value in table.items():
        key = f"{prefix}{name}"
        below = {each: kind for each, kind in types.items() if each.startswith(f"{key}.")}
        if below and "." not in name:
            if not isinstance(value, dict):
                raise _invalid_value(source, key, "a table", value)
            _check(value, below, f"{key}.", source)
            continue
        if key not in types or "." in name:
            raise _unknown(source, key, types)
        if not _fits(value, types[key]):
            raise _invalid_value(source, key, _expected(types[key]), value)


@cache
def _types(kind: type[FrozenStruct], prefix: str = "") -> dict[str, inspect.Type]:
    """The type of each key, tables taken apart."""
    types: dict[str, inspect.Type] = {}
    for field in msgspec.structs.fields(kind):
        found = inspect.type_info(field.type)
        bare = found.type if isinstance(found, inspect.Metadata) else found
        if isinstance(bare, inspect.StructType):
            types.update(_types(bare.cls, f"{prefix}{field.name}."))
        else:
            types[f"{prefix}{field.name}"] = bare
    return types


def _fits(value: object, kind: inspect.Type) -> bool:
    match kind:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.FloatType(ge=low, le=high):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return number and _bound(low) <= value <= _bound(high)  # type: ignore[operator]
        case inspect.DictType():
            return isinstance(value, dict) and all(_is_text(each) for each in value.values())
    return _is_text(value) and (not (choices := _choices(kind)) or value in choices)


def _is_text(value: object) -> bool:
    """Of one line, as names, paths, filters and keys are."""
    return isinstance(value, str) and not any(char < " " or char == "\x7f" for char in value)


def _expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.FloatType(ge=low, le=high):
            return f"a number from {_bound(low):g} to {_bound(high):g}"
        case inspect.DictType():
            return "a table of texts in quotes, of one line each"
    choices = _choices(kind)
    return f"one of {', '.join(choices)}" if choices else "a text of one line in quotes"


def _choices(kind: inspect.Type) -> tuple[str, ...]:
    match kind:
        case inspect.LiteralType(values=values):
            return tuple(str(each) for each in values)
        case inspect.EnumType(cls=cls):
            return tuple(str(each.value) for each in cls)
    return ()


def _bound(number: float | None) -> float:
    assert number is not None, "a number of the settings has both bounds"
    return number


# ---- the environment


def _overrides(environ: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    """What the environment sets, and by which variable. Tables of any keys have no variable."""
    values: dict[str, object] = {}
    variables: dict[str, str] = {}
    for key, kind in _types(Settings).items():
        variable = _variable(key, environ)
        if not isinstance(kind, inspect.DictType) and variable in environ:
            values[key] = _from_text(variable, environ[variable], kind)
            variables[key] = variable
    if no_color(environ):
        values["theme"], variables["theme"] = NO_COLOR_THEME, "NO_COLOR"
    return values, variables


def _variable(key: str, environ: Mapping[str, str]) -> str:
    own = f"SEALYARD_{key.replace('.', '_').upper()}"
    textuals = environ.get("TEXTUAL_ANIMATIONS")
    if key == "animations" and own not in environ and textuals in get_args(Animations):
        return "TEXTUAL_ANIMATIONS"
    return own


def _from_text(variable: str, text: str, kind: inspect.Type) -> object:
    value: object = text
    match kind:
        case inspect.BoolType():
            value = _WORDS.get(text.strip().lower())
        case inspect.FloatType():
            value = _number(text)
    if not _fits(value, kind) or not _is_unicode(text):
        expected = "1 or 0" if isinstance(kind, inspect.BoolType) else _expected(kind)
        raise UsageError(f"{variable} is {_repr(text)}; expected is {expected}.", "Mend or unset it.")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _merge(settings: Settings, overrides: Mapping[str, object]) -> Settings:
    table = msgspec.to_builtins(settings)
    for key, value in overrides.items():
        *tables, name = key.split(".")
        target = table
        for each in tables:
            target = target[each]
        target[name] = value
    return msgspec.convert(table, Settings)


def _has(table: Mapping[str, Any], key: str) -> bool:
    value: Any = table
    for name in key.split("."):
        if name not in value:
            return False
        value = value[name]
    return True


# ---- errors


def _unknown(source: str, key: str, known: Iterable[str]) -> UsageError:
    message = f"{escape_text(source)}: there is no key '{escape_text(key, _LONGEST)}'."
    meant = _nearest(key, tuple(known))
    if meant == key:
        return UsageError(message, f"Write it in the table [{key.rpartition('.')[0]}], without quotation marks.")
    if meant is None:
        return UsageError(message, "`sealyard config example` shows all keys.")
    if _snake_case(key) == meant:
        return UsageError(message, f"Keys are snake_case: write {meant}.")
    return UsageError(message, f"Did you mean {meant}? `sealyard config example` shows all keys.")


def _nearest(key: str, known: tuple[str, ...]) -> str | None:
    return next(iter(difflib.get_close_matches(_snake_case(key), known, n=1, cutoff=0.6)), None)


def _snake_case(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key[:_LONGEST]).replace("-", "_").lower()


def _invalid_value(source: str, key: str, expected: str, value: object) -> UsageError:
    return UsageError(
        f"{escape_text(source)}: {key} is {_repr(value)}; expected is {expected}.",
        "`sealyard config example` shows all keys with their defaults.",
    )


def _repr(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"'{escape_text(value, _LONGEST)}'"
        case float():
            return str(value)
        case int():
            return str(value) if abs(value) < _LARGE else "a large number"
        case dict():
            odd = next((name for name, each in value.items() if not _is_text(each)), None)
            return "a table" if odd is None else f"a table in which {escape_text(odd, _LONGEST)} is none"
        case list():
            return "a list"
    return "a time"


def _shown(path: Path) -> str:
    return escape_text(str(path))
