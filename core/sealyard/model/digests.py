"""SHA-256 digests as users write them."""

from __future__ import annotations

import re

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

SHA256_PATTERN = r"(?:[sS][hH][aA]256:)?[0-9a-fA-F]{64}"
"""Regular expression for a digest in hexadecimal digits, optionally with the prefix that OCI and GitHub use."""

_OTHER_LENGTHS = {32: "MD5", 40: "SHA-1", 96: "SHA-384", 128: "SHA-512"}


def parse_sha256(text: str) -> str:
    """Return a digest that matches :data:`SHA256_PATTERN` as 64 lowercase hexadecimal digits.

    Raises :class:`UsageError` for any other text.
    """
    if re.fullmatch(SHA256_PATTERN, text):
        return text[-64:].lower()
    digits = text.rpartition(":")[2]
    algorithm = _OTHER_LENGTHS.get(len(digits)) if re.fullmatch(r"[0-9a-fA-F]+", digits) else None
    raise UsageError(
        f"Invalid SHA-256 {escape_text(text, 80)}{f': it has the length of {algorithm}' if algorithm else ''}.",
        "Use 64 hexadecimal digits, with or without the prefix sha256:",
    )
