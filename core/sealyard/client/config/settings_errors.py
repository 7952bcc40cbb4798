"""Errors in settings: unknown keys, with the most similar known key, and invalid values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from sealyard.model.errors import UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text

_MAX_SHOWN_LENGTH = 60
_MAX_SHOWN_NUMBER = 10**9
_MIN_SIMILARITY = 0.7
"""Ratio from which a known key is suggested; at 0.6, ``mouse`` would be suggested for ``bogus``."""


def unknown_key_error(source: str, key: str, known_keys: Iterable[str]) -> UsageError:
    """Return the error for an unknown ``key``. ``source`` names the file."""
    message = f"{escape_text(source)}: unknown key '{escape_text(key, _MAX_SHOWN_LENGTH)}'"
    suggestion = _find_closest_key(key, tuple(known_keys))
    if suggestion == key:
        return UsageError(f"{message}.", f"Write it in the table [{key.rpartition('.')[0]}], without quotation marks.")
    if suggestion is None:
        return UsageError(f"{message}.", Hint.of(HintCode.LIST_SETTINGS))
    if _to_snake_case(key) == suggestion:
        return UsageError(f"{message}.", f"Keys are snake_case: write {suggestion}.")
    return UsageError(f"{message}. Did you mean {suggestion}?", Hint.of(HintCode.LIST_SETTINGS))


def _find_closest_key(key: str, known_keys: tuple[str, ...]) -> str | None:
    return next(iter(difflib.get_close_matches(_to_snake_case(key), known_keys, n=1, cutoff=_MIN_SIMILARITY)), None)


def _to_snake_case(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key[:_MAX_SHOWN_LENGTH]).replace("-", "_").lower()


def invalid_value_error(source: str, key: str, expected_text: str, value: object) -> UsageError:
    """Return the error for an invalid ``value``. ``source`` names the file."""
    return UsageError(
        f"{escape_text(source)}: invalid {key}: expected {expected_text}, got {format_value(value)}.",
        Hint.of(HintCode.LIST_SETTINGS),
    )


def format_value(value: object) -> str:
    """Format a value of a TOML file as safe text of limited length."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"'{escape_text(value, _MAX_SHOWN_LENGTH)}'"
        case float():
            return str(value)
        case int():
            return str(value) if abs(value) < _MAX_SHOWN_NUMBER else "a large number"
        case dict():
            invalid_key = next((name for name, text in value.items() if not is_text(text)), None)
            name = escape_text(invalid_key or "", _MAX_SHOWN_LENGTH)
            return "a table" if invalid_key is None else f"a table with an invalid value of {name}"
        case list():
            return "a list"
    return "a time"


def format_path(path: Path) -> str:
    return escape_text(str(path))


def is_text(value: object) -> bool:
    """Return whether ``value`` is a string of one line without control characters."""
    return isinstance(value, str) and not any(char < " " or char == "\x7f" for char in value)
