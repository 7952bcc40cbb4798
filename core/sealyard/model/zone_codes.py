"""Text forms of what operators carry between a server and a crypto host, with fingerprints to compare by phone.

The enrollment is a JSON file. The public keys of a zone are one line: a prefix, and Base32 (RFC 4648) of both keys and
of a checksum, which detects copying errors. They are not secret, but must arrive unchanged.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256

import msgspec

from sealyard.model.base import JSON_ERRORS
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import InvalidInputError
from sealyard.model.zones import ENROLLMENT_VERSION, Enrollment, ZonePublicKeys

KEY_LENGTH = 32
MAX_ENROLLMENT_BYTES = 64 * 1024

_CODE_PREFIX = "zone1-"
_CHECKSUM_LENGTH = 5
_FINGERPRINT_DIGITS = 20
_GROUP_DIGITS = 4


def encode_enrollment(enrollment: Enrollment) -> bytes:
    """Return the content of an enrollment file."""
    return msgspec.json.format(msgspec.json.encode(enrollment), indent=2) + b"\n"


def parse_enrollment(content: bytes) -> Enrollment:
    """Parse the content of an enrollment file. Raises :class:`InvalidInputError` if it is not a valid one."""
    try:
        enrollment = msgspec.json.decode(content[: MAX_ENROLLMENT_BYTES + 1], type=Enrollment)
    except JSON_ERRORS:
        raise _enrollment_error() from None
    if enrollment.version > ENROLLMENT_VERSION:
        raise InvalidInputError(
            "The enrollment was created by a newer version of Sealyard.", "Install that version on the crypto host."
        )
    if not enrollment.workspace_id or not enrollment.zone or len(enrollment.order_key) != KEY_LENGTH:
        raise _enrollment_error()
    return enrollment


def encode_zone_keys(keys: ZonePublicKeys) -> str:
    """Return the public keys of a zone as one line, the zone code."""
    content = keys.report_key + keys.sealing_key
    return _CODE_PREFIX + base64.b32encode(content + _compute_checksum(content)).decode().rstrip("=").lower()


def parse_zone_keys(code: str) -> ZonePublicKeys:
    """Parse a zone code; spaces, line breaks and upper case do not matter.

    Raises :class:`InvalidInputError` if it is not a valid one.
    """
    text = "".join(code.split()).lower()
    if not text.startswith(_CODE_PREFIX):
        raise InvalidInputError(
            f"This is not a zone code: it does not start with {_CODE_PREFIX}.", "Copy the line from the crypto host."
        )
    digits = text.removeprefix(_CODE_PREFIX).upper()
    try:
        decoded = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError):
        decoded = b""
    keys = ZonePublicKeys(report_key=decoded[:KEY_LENGTH], sealing_key=decoded[KEY_LENGTH : 2 * KEY_LENGTH])
    if encode_zone_keys(keys) != text:
        raise InvalidInputError(
            "The zone code is incomplete or was changed.", "Copy the whole line from the crypto host again."
        )
    return keys


def compute_fingerprint(value: Enrollment | ZonePublicKeys) -> str:
    """Return 80 bits of a digest of ``value`` as groups of hex digits, which two people can compare by phone."""
    content = canonical_json([type(value).__name__, value])
    digits = sha256(content).hexdigest()[:_FINGERPRINT_DIGITS]
    return "-".join(digits[start : start + _GROUP_DIGITS] for start in range(0, len(digits), _GROUP_DIGITS))


def _compute_checksum(content: bytes) -> bytes:
    return sha256(b"sealyard zone code 1" + content).digest()[:_CHECKSUM_LENGTH]


def _enrollment_error() -> InvalidInputError:
    return InvalidInputError(
        "The file is not an enrollment for a crypto host, or it was changed.", "Copy the file from the server again."
    )
