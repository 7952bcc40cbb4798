"""Parse metadata files. The input is untrusted, so callers must not parse it on an event loop."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

from sealyard.metadata.fields import (
    MAX_BYTES,
    MetadataLimitError,
    MetadataSyntaxError,
    Node,
    RepeatedNameError,
    ValueCounter,
    string_node,
)
from sealyard.metadata.formats import MetadataFormat
from sealyard.metadata.ini_parser import parse_ini

MAX_TOML_DOTS = 100
"""Maximum number of dots in a line of TOML, because :mod:`tomllib` needs quadratic time for dotted keys."""

_TOML_POSITION = re.compile(r"\(at line (\d+), column (\d+)\)$")


class _RawValue(str):
    """The text of a number or constant, as opposed to a string with the same characters."""

    __slots__ = ()


def parse_metadata(data: bytes, file_format: MetadataFormat) -> Node:
    """Parse the complete content of a file.

    Raises :class:`MetadataSyntaxError` if it does not have the syntax of the format, :class:`RepeatedNameError` if an
    object has two fields of the same name, and :class:`MetadataLimitError` if it exceeds a limit.
    """
    if len(data) > MAX_BYTES:
        raise MetadataLimitError
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _syntax_error_at(data[: error.start].decode("utf-8")) from None
    try:
        return _PARSERS[file_format](text)
    except RecursionError:
        raise MetadataLimitError from None


def _syntax_error_at(preceding_text: str) -> MetadataSyntaxError:
    """Return the error for the position after ``preceding_text``."""
    line_start = preceding_text.rfind("\n") + 1
    return MetadataSyntaxError(preceding_text.count("\n") + 1, len(preceding_text) - line_start + 1)


# ---- JSON


def _parse_json(text: str) -> Node:
    try:
        value = json.loads(
            text,
            object_pairs_hook=_build_object,
            parse_int=_RawValue,
            parse_float=_RawValue,
            parse_constant=_reject_constant,
        )
    except json.JSONDecodeError as error:
        raise MetadataSyntaxError(error.lineno, error.colno) from None
    return _to_node(value, 0, ValueCounter())


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise RepeatedNameError(name)
        fields[name] = value
    return fields


def _reject_constant(_: str) -> None:
    """Reject ``NaN`` and ``Infinity``, which Python accepts and JSON does not have."""
    raise MetadataSyntaxError


# ---- TOML


def _parse_toml(text: str) -> Node:
    import tomllib

    if any(line.count(".") > MAX_TOML_DOTS for line in text.split("\n")):
        raise MetadataLimitError
    try:
        value = tomllib.loads(text, parse_float=_RawValue)
        return _to_node(value, 0, ValueCounter())
    except tomllib.TOMLDecodeError as error:
        match = _TOML_POSITION.search(str(error))
        raise MetadataSyntaxError(*(int(group) for group in match.groups()) if match else (0, 0)) from None
    except ValueError:
        # Python refuses to convert integers with thousands of digits.
        raise MetadataLimitError from None


# ---- YAML


def _parse_yaml(text: str) -> Node:
    # Importing PyYAML takes longer than starting a command that needs no metadata should.
    from sealyard.metadata.yaml_parser import parse_yaml

    return parse_yaml(text)


# ---- values


def _to_node(value: Any, depth: int, counter: ValueCounter) -> Node:
    counter.check_depth(depth)
    counter.add()
    match value:
        case dict():
            return {name: _to_node(item, depth + 1, counter) for name, item in value.items()}
        case list():
            return [_to_node(item, depth + 1, counter) for item in value]
        case _RawValue():
            return str(value)
        case str():
            return string_node(value)
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return str(value)


_PARSERS: dict[MetadataFormat, Callable[[str], Node]] = {
    MetadataFormat.JSON: _parse_json,
    MetadataFormat.TOML: _parse_toml,
    MetadataFormat.YAML: _parse_yaml,
    MetadataFormat.INI: parse_ini,
}
