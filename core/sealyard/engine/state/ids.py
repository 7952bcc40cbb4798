"""Generate short random ids that people can read aloud: ten characters of Crockford's Base32, i.e. 50 random bits."""

from __future__ import annotations

import re
import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 10

_PREFIX = re.compile(f"[{ALPHABET}]{{1,{LENGTH}}}")


def new_id() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_id_prefix(text: str) -> bool:
    """Return whether ``text`` could be the start of an id."""
    return _PREFIX.fullmatch(text) is not None
