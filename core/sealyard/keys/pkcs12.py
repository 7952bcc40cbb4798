"""The structure of PKCS#12 files (RFC 7292): their private keys, of which cryptography returns only one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sealyard.keys.der import (
    EXPLICIT_0,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    Element,
    encode_element,
    encode_elements,
    read_element,
    read_elements,
)

# A SEQUENCE that begins with the version 3: no other key file does. The length can have several forms.
_PKCS12_START = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)
_DATA = Element(OBJECT_IDENTIFIER, bytes.fromhex("2a864886f70d010701"))
_KEY_BAG = Element(OBJECT_IDENTIFIER, bytes.fromhex("2a864886f70d010c0a0101"))
_SHROUDED_KEY_BAG = Element(OBJECT_IDENTIFIER, bytes.fromhex("2a864886f70d010c0a0102"))
_VERSION = Element(INTEGER, b"\x03")


def is_pkcs12(data: bytes) -> bool:
    return _PKCS12_START.match(data) is not None


def find_private_keys(data: bytes) -> tuple[bytes, ...]:
    """Return each private key of a PKCS#12 file as PKCS#8 in DER, usually encrypted with the file's password.

    Returns nothing if the file is not DER, or if its keys are inside a part that is encrypted as a whole. Does not
    check the integrity of the file.
    """
    try:
        return tuple(_find_keys(data))
    except ValueError:
        return ()


def wrap_encrypted_key(key: bytes) -> bytes:
    """Return a PKCS#12 file without integrity check that contains ``key``, an encrypted PKCS#8 key in DER."""
    bag = encode_elements([_SHROUDED_KEY_BAG, Element(EXPLICIT_0, key)])
    parts = _encode_data(encode_element(SEQUENCE, encode_element(SEQUENCE, bag)))
    content = _encode_data(encode_element(SEQUENCE, parts))
    return encode_element(SEQUENCE, encode_elements([_VERSION]) + content)


def _encode_data(data: bytes) -> bytes:
    """Return a ContentInfo of the type data."""
    content = Element(EXPLICIT_0, encode_element(OCTET_STRING, data))
    return encode_element(SEQUENCE, encode_elements([_DATA, content]))


def _find_keys(data: bytes) -> Iterator[bytes]:
    content_info = read_elements(read_element(data, SEQUENCE))[1]
    for part in read_elements(read_element(_read_data(content_info.content) or b"", SEQUENCE)):
        bags = _read_data(part.content)
        if bags is not None:
            yield from _read_bags(bags)


def _read_data(content_info: bytes) -> bytes | None:
    """Return the content of a ContentInfo (RFC 2315) of the type data; None if it has another type."""
    elements = read_elements(content_info)
    if len(elements) < 2 or elements[0] != _DATA or elements[1].tag != EXPLICIT_0:  # noqa: PLR2004 - type and content
        return None
    return read_element(elements[1].content, OCTET_STRING)


def _read_bags(data: bytes) -> Iterator[bytes]:
    for bag in read_elements(read_element(data, SEQUENCE)):
        elements = read_elements(bag.content)
        if len(elements) > 1 and elements[0] in (_KEY_BAG, _SHROUDED_KEY_BAG):
            yield elements[1].content
