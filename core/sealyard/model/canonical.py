"""One byte string for one JSON value (RFC 8785), so that two who hash the same thing get the same digest."""

from __future__ import annotations

from typing import Any

import msgspec
import rfc8785

from sealyard.model.errors import InputError


def canonical_json(value: Any) -> bytes:
    """The JSON Canonicalization Scheme (RFC 8785) form of a :class:`Value` or of plain builtins, in UTF-8.

    Raises :class:`InputError` for what JSON cannot carry exactly: whole numbers beyond ±(2**53 - 1),
    infinities, text with lone surrogates, values without a JSON form.
    """
    try:
        return rfc8785.dumps(msgspec.to_builtins(value))
    except (rfc8785.CanonicalizationError, TypeError, RecursionError) as error:
        raise InputError(
            "A value cannot be written as JSON without loss.",
            "Whole numbers go up to 2^53 - 1, and text must be valid Unicode.",
        ) from error
