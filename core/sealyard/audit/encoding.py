"""Encode audit entries to the bytes that are hashed and stored, and decode them."""

from __future__ import annotations

import msgspec

from sealyard.model.audit import AuditEntry
from sealyard.model.base import JSON_ERRORS
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import AuditVerificationError, InvalidInputError
from sealyard.model.hints import Hint, HintCode

_decoder = msgspec.json.Decoder(AuditEntry)


def encode_entry(entry: AuditEntry) -> bytes:
    """Return ``entry`` as canonical JSON (RFC 8785), i.e. a line of a segment file without its line feed.

    Raises :class:`InvalidInputError` if a value of the entry cannot be represented in JSON.
    """
    return canonical_json(entry)


def decode_entry(line: bytes, source: str) -> AuditEntry:
    """Decode a line of the file named ``source``. The line need not be canonical JSON.

    Raises :class:`AuditVerificationError` if the line is not an audit entry.
    """
    try:
        return _decoder.decode(line)
    except JSON_ERRORS as error:
        raise AuditVerificationError(
            f"{source} contains a line that is not an entry.", Hint.of(HintCode.VERIFY_AUDIT)
        ) from error


def is_canonical(entry: AuditEntry, line: bytes) -> bool:
    """Return whether ``line`` is byte for byte the canonical encoding of ``entry``."""
    try:
        return encode_entry(entry) == line
    except InvalidInputError:
        return False
