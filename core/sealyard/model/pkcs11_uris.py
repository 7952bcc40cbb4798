"""Names of keys in PKCS#11 tokens: the path attributes of a PKCS#11 URI (RFC 7512).

The canonical form has its attributes in a fixed order, and percent-encodes everything but unreserved characters.
"""

from __future__ import annotations

import re

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError

_TOKEN_ATTRIBUTES = ("token", "manufacturer", "model", "serial")
_NAME_ATTRIBUTES = (*_TOKEN_ATTRIBUTES, "object", "id")
_KEY_TYPES = ("private", "public", "secret-key")

_SETTINGS_ATTRIBUTES = ("pin-value", "pin-source", "module-path", "module-name")
_SLOT_PREFIXES = ("slot-", "library-")

_HINT = "Use a URI like pkcs11:token=seal;object=gateway-sign."

_VALUE = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})+")
"""The characters that RFC 7512 permits in the value of a path attribute."""

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PERCENT_ENCODED = re.compile(rb"%(..)")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Pkcs11Name(FrozenStruct, frozen=True, kw_only=True):
    """The token and the object that a name refers to. Attributes that are None match any value.

    ``object`` is the label of the key (CKA_LABEL) and ``id`` its identifier (CKA_ID); at least one of them is set.
    """

    token: str
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    object: str | None = None
    id: bytes | None = None

    def __str__(self) -> str:
        values = ((attribute, getattr(self, attribute)) for attribute in _NAME_ATTRIBUTES)
        return ";".join(f"{attribute}={_encode(value)}" for attribute, value in values if value is not None)


def parse_pkcs11_name(text: str) -> Pkcs11Name:
    """Parse the part of a PKCS#11 URI after the scheme.

    The attribute ``type`` is checked and omitted, because the operation decides which object of a key is used. Raises
    :class:`UsageError`, which names the wrong attribute but never its value.
    """
    path, question_mark, query = text.partition("?")
    if question_mark:
        _reject_attribute(re.split("[=&]", query, maxsplit=1)[0])
    values: dict[str, str] = {}
    for part in path.split(";"):
        attribute, _, value = part.partition("=")
        if attribute not in (*_NAME_ATTRIBUTES, "type"):
            _reject_attribute(attribute)
        if attribute in values:
            raise UsageError(f"A PKCS#11 URI can have the attribute {attribute} only once.", _HINT)
        if not _VALUE.fullmatch(value):
            raise UsageError(
                f"The attribute {attribute} of a PKCS#11 URI is empty or has a character that must be written as %XX.",
                _HINT,
            )
        values[attribute] = value
    return _build_name(values)


def _build_name(values: dict[str, str]) -> Pkcs11Name:
    if values.pop("type", _KEY_TYPES[0]) not in _KEY_TYPES:
        raise UsageError(f"The type in a PKCS#11 URI of a key must be one of {', '.join(_KEY_TYPES)}.", _HINT)
    if "token" not in values or not {"object", "id"} & values.keys():
        raise UsageError("A PKCS#11 URI of a key needs its token, and its object, its id, or both.", _HINT)
    identifier = values.pop("id", None)
    texts = {attribute: _decode(attribute, value) for attribute, value in values.items()}
    return Pkcs11Name(**texts, id=None if identifier is None else _decode_bytes(identifier))


def _decode_bytes(value: str) -> bytes:
    return _PERCENT_ENCODED.sub(lambda match: bytes.fromhex(match[1].decode()), value.encode())


def _decode(attribute: str, value: str) -> str:
    try:
        text = _decode_bytes(value).decode()
    except UnicodeDecodeError:
        text = "\0"
    if _CONTROL_CHARACTER.search(text):
        raise UsageError(f"The attribute {attribute} of a PKCS#11 URI must be UTF-8 without control characters.", _HINT)
    return text


def _encode(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return "".join(f"%{byte:02X}" for byte in value)
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in value.encode())


def _reject_attribute(attribute: str) -> None:
    """Raise :class:`UsageError` for an attribute that a key URI cannot have."""
    if attribute in _SETTINGS_ATTRIBUTES:
        raise UsageError(
            f"A PKCS#11 URI of a key must not contain {attribute}.",
            "Set the module and the PIN in the worker settings, where no other user sees them.",
        )
    if attribute.startswith(_SLOT_PREFIXES):
        raise UsageError(
            "A PKCS#11 URI of a key must not name slots or libraries, which can change.", "Name the token by its label."
        )
    raise UsageError(f"A PKCS#11 URI of a key can only have the attributes {', '.join(_NAME_ATTRIBUTES)}.", _HINT)
