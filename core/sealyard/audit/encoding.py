"""Entries as bytes: what is hashed, what is stored, and how it is read back."""

from __future__ import annotations

import msgspec

from sealyard.model.audit import AuditEntry
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import AuditVerificationError, InvalidInputError

_decoder = msgspec.json.Decoder(AuditEntry)


def encode_entry(entry: AuditEntry) -> bytes:
    """The RFC 8785 form: one line of a segment file without its line feed. Raises :class:`InvalidInputError`."""
    return canonical_json(entry)


def decode_entry(line: bytes, source: str) -> AuditEntry:
    """Reads a line of the file ``source`` as it is, canonical or not; :class:`AuditVerificationError` where it is no
    entry.
    """
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AuditVerificationError(
            f"{source} holds a line that is not an entry.", "`sealyard audit verify` says where."
        ) from error


def is_canonical(entry: AuditEntry, line: bytes) -> bool:
    """Whether ``line`` is byte for byte what ``entry`` is written as."""
    try:
        return encode_entry(entry) == line
    except InvalidInputError:
        return False
