"""JSON request bodies: unknown members are rejected, null means absent, and the case of enum values is ignored."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from litestar import Request
from msgspec import inspect

from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

HINT = "See /docs for the API reference."
MAX_NAME_LENGTH = 80
"""Maximum length of a member name in an error message, in characters."""


class ApiRequest(Request[Any, Any, Any]):
    """A request whose JSON body is normalized to match the type of the handler's ``data`` parameter."""

    async def json(self) -> Any:
        """Return the normalized body. Raises :class:`UsageError` if it is invalid."""
        body = decode_json(await self.body())
        field = self.route_handler.parsed_data_field
        return body if field is None else normalize_body(body, field.annotation)


def decode_json(content: bytes) -> Any:
    """Decode JSON, with or without a byte order mark (RFC 8259, section 8.1).

    Raises :class:`UsageError` if it is invalid.
    """
    try:
        return msgspec.json.decode(content.removeprefix(codecs.BOM_UTF8))
    except JSON_ERRORS as error:
        raise UsageError(f"Invalid JSON: {escape_text(str(error), 200)}.", HINT) from error


def normalize_body(body: Any, body_type: Any) -> Any:
    """Return ``body`` without optional members that are null, and with enum values spelled as in ``body_type``.

    Many clients serialize unset members as null. Raises :class:`UsageError` if an object has an unknown member:
    ignoring a misspelled one could weaken a restriction that it was meant to set.
    """
    return _normalize(body, _inspect(body_type), "")


@cache
def _inspect(body_type: Any) -> inspect.Type:
    return inspect.type_info(body_type)


def _normalize(value: Any, expected: inspect.Type, path: str) -> Any:
    """Normalize a value of type ``expected``. ``path``: location of the value in the body, for error messages."""
    if isinstance(expected, inspect.UnionType):
        candidates = [member for member in expected.types if _accepts_container(member, value)]
        return _normalize(value, candidates[0], path) if len(candidates) == 1 else value
    if isinstance(value, str) and isinstance(expected, inspect.EnumType):
        return _normalize_enum(value, expected)
    if isinstance(value, dict) and isinstance(expected, inspect.StructType):
        return _normalize_object(value, expected, path)
    if isinstance(value, dict) and isinstance(expected, inspect.DictType):
        return {name: _normalize(item, expected.value_type, f"{path}{name}.") for name, item in value.items()}
    if isinstance(value, list) and isinstance(expected, inspect.VarTupleType | inspect.ListType):
        return [_normalize(item, expected.item_type, f"{path}{index}.") for index, item in enumerate(value)]
    return value


def _accepts_container(expected: inspect.Type, value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(expected, inspect.StructType | inspect.DictType)
    return isinstance(value, list) and isinstance(expected, inspect.VarTupleType | inspect.ListType)


def _normalize_enum(value: str, expected: inspect.EnumType) -> str:
    names = {str(member.value).casefold(): str(member.value) for member in expected.cls}
    return names.get(value.casefold(), value)


def _normalize_object(value: dict[str, Any], expected: inspect.StructType, path: str) -> dict[str, Any]:
    fields = {field.encode_name: field for field in expected.fields}
    normalized: dict[str, Any] = {}
    for name, item in value.items():
        field = fields.get(name)
        if field is None:
            raise _unknown_member_error(name, path, fields)
        if item is None and not field.required:
            continue
        normalized[name] = _normalize(item, field.type, f"{path}{name}.")
    return normalized


def _unknown_member_error(name: str, path: str, known_names: Iterable[str]) -> UsageError:
    nearest = difflib.get_close_matches(name, known_names, n=1)
    suggestion = f"; did you mean {nearest[0]}?" if nearest else "."
    return UsageError(f"Unknown field {escape_text(path + name, MAX_NAME_LENGTH)}{suggestion}", HINT)
