"""Short random ids that people can read out: ten characters of Crockford's Base32, 50 bits."""

from __future__ import annotations

import re
import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 10

_BEGINNING = re.compile(f"[{ALPHABET}]{{1,{LENGTH}}}")


def new_id() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def begins_id(text: str) -> bool:
    """Whether an id could begin so."""
    return _BEGINNING.fullmatch(text) is not None
