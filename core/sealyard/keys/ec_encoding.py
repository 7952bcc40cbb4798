"""Private keys on NIST P-256 whose encoding does not have the length that RFC 5915 requires.

The private key is an OCTET STRING of exactly 32 bytes. Some programs write it like an INTEGER: GnuTLS 3.7 adds a zero
byte if the first bit is set, others omit leading zero bytes. OpenSSL reads all of these, cryptography only the first.
"""

from __future__ import annotations

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

_KEY_LENGTH = 32
_EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")
_P256 = bytes.fromhex("2a8648ce3d030107")
_EC_KEY_VERSION = b"\x01"


def normalize_ec_key(der: bytes) -> bytes | None:
    """Return an unencrypted P-256 key (DER, SEC 1 or PKCS#8) with a private key of exactly 32 bytes.

    Returns None if ``der`` is anything else, or if the number has more than 32 bytes.
    """
    try:
        elements = read_elements(read_element(der, SEQUENCE))
        if _is_ec_private_key_info(elements):
            return _normalize_pkcs8(elements)
        return _normalize_sec1(elements, requires_curve=True)
    except ValueError:
        return None


def _is_ec_private_key_info(elements: list[Element]) -> bool:
    """Return whether the elements are a PrivateKeyInfo (RFC 5958) with a key on P-256."""
    if [element.tag for element in elements[:3]] != [INTEGER, SEQUENCE, OCTET_STRING]:
        return False
    algorithm = [Element(OBJECT_IDENTIFIER, _EC_PUBLIC_KEY), Element(OBJECT_IDENTIFIER, _P256)]
    return read_elements(elements[1].content) == algorithm


def _normalize_pkcs8(elements: list[Element]) -> bytes | None:
    key = _normalize_sec1(read_elements(read_element(elements[2].content, SEQUENCE)), requires_curve=False)
    if key is None:
        return None
    return encode_element(SEQUENCE, encode_elements([*elements[:2], Element(OCTET_STRING, key), *elements[3:]]))


def _normalize_sec1(elements: list[Element], *, requires_curve: bool) -> bytes | None:
    """Return the ECPrivateKey (RFC 5915). Its curve may be missing only inside PKCS#8, which names it as well."""
    if len(elements) < 2 or elements[0] != Element(INTEGER, _EC_KEY_VERSION) or elements[1].tag != OCTET_STRING:  # noqa: PLR2004 - version and key
        return None
    curves = [read_element(element.content, OBJECT_IDENTIFIER) for element in elements if element.tag == EXPLICIT_0]
    if curves != [_P256] and (curves or requires_curve):
        return None
    number = elements[1].content.lstrip(b"\0")
    if len(number) > _KEY_LENGTH:
        return None
    key = Element(OCTET_STRING, number.rjust(_KEY_LENGTH, b"\0"))
    return encode_element(SEQUENCE, encode_elements([elements[0], key, *elements[2:]]))
