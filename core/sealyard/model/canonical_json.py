"""Canonical JSON (RFC 8785): equal values are encoded as the same bytes and therefore have the same digest."""

from __future__ import annotations

from typing import Any

import msgspec
import rfc8785

from sealyard.model.errors import InvalidInputError

_INTEGER_LIMIT = 2**53
_FAST_PATH_TYPES = frozenset((str, bool, type(None)))

# This encoder is thirty times as fast as rfc8785, and produces the same bytes for every value that
# _needs_no_normalization accepts. Nearly all values qualify, and the audit log encodes several for each task.
_encoder = msgspec.json.Encoder(order="sorted")


def canonical_json(value: Any) -> bytes:
    """Encode a :class:`FrozenStruct` or a plain builtin value by the JSON Canonicalization Scheme (RFC 8785), in UTF-8.

    Raises :class:`InvalidInputError` for values that JSON cannot represent exactly: integers beyond ±(2**53 - 1),
    infinities, text with lone surrogates, and types without a JSON form.
    """
    try:
        builtin_value = msgspec.to_builtins(value, str_keys=True)
        return (
            _encoder.encode(builtin_value) if _needs_no_normalization(builtin_value) else rfc8785.dumps(builtin_value)
        )
    except (rfc8785.CanonicalizationError, TypeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidInputError(
            "The value cannot be represented in JSON without loss.",
            "Use integers up to 2^53 - 1 and valid Unicode text.",
        ) from error


def _needs_no_normalization(value: Any) -> bool:
    """Return whether all numbers in ``value`` are integers that JSON represents exactly, and all keys are ASCII.

    ASCII keys have the same order in msgspec, which sorts by character, and in RFC 8785, which sorts by UTF-16 unit.
    """
    value_type = type(value)
    if value_type in _FAST_PATH_TYPES:
        return True
    if value_type is int:
        return bool(-_INTEGER_LIMIT < value < _INTEGER_LIMIT)
    if value_type is dict:
        return all(
            key.isascii() and (type(item) in _FAST_PATH_TYPES or _needs_no_normalization(item))
            for key, item in value.items()
        )
    return value_type in (list, tuple) and all(
        type(item) in _FAST_PATH_TYPES or _needs_no_normalization(item) for item in value
    )
