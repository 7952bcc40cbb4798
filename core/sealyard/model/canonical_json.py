"""One byte string for one JSON value (RFC 8785), so that two who hash the same thing get the same digest."""

from __future__ import annotations

from typing import Any

import msgspec
import rfc8785

from sealyard.model.errors import InvalidInputError

_INTEGER_LIMIT = 2**53
_FAST_PATH_TYPES = frozenset((str, bool, type(None)))

# Thirty times as fast as the other one, and the same bytes for all that _simple lets through; nearly every
# value is, and the audit log writes several for each task.
_encoder = msgspec.json.Encoder(order="sorted")


def canonical_json(value: Any) -> bytes:
    """The JSON Canonicalization Scheme (RFC 8785) form of a :class:`FrozenStruct` or of plain builtins, in UTF-8.

    Raises :class:`InvalidInputError` for what JSON cannot carry exactly: whole numbers beyond ±(2**53 - 1),
    infinities, text with lone surrogates, values without a JSON form.
    """
    try:
        plain = msgspec.to_builtins(value, str_keys=True)
        return _encoder.encode(plain) if _needs_no_normalization(plain) else rfc8785.dumps(plain)
    except (rfc8785.CanonicalizationError, TypeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidInputError(
            "A value cannot be written as JSON without loss.",
            "Whole numbers go up to 2^53 - 1, and text must be valid Unicode.",
        ) from error


def _needs_no_normalization(value: Any) -> bool:
    """Whether no number needs rounding or rewriting, and keys sort the same by character as by UTF-16 unit."""
    kind = type(value)
    if kind in _FAST_PATH_TYPES:
        return True
    if kind is int:
        return bool(-_INTEGER_LIMIT < value < _INTEGER_LIMIT)
    if kind is dict:
        return all(
            key.isascii() and (type(each) in _FAST_PATH_TYPES or _needs_no_normalization(each))
            for key, each in value.items()
        )
    return kind in (list, tuple) and all(
        type(each) in _FAST_PATH_TYPES or _needs_no_normalization(each) for each in value
    )
