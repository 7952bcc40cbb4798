"""Key objects of a token and their attributes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pkcs11
from pkcs11 import Attribute, Mechanism, MechanismFlag, ObjectClass

from sealyard.crypto.algorithms import SYMMETRIC_KEY_LENGTHS
from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.mechanisms import RSA_SIZES, has_mechanism
from sealyard.model.algorithms import KeyType

P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")
"""The object identifier of the curve P-256 (RFC 5480)."""

ED25519_PARAMETERS = b"\x13\x0cedwards25519"
"""The name of the curve of Ed25519 as a PrintableString (PKCS#11 3.0)."""

_ED25519_ENCODINGS = (
    ED25519_PARAMETERS,
    bytes.fromhex("06032b6570"),  # the object identifier of RFC 8410
    bytes.fromhex("06092b06010401da470f01"),  # the one that GnuPG used before
)

_COMMON_ATTRIBUTES = (
    Attribute.CLASS,
    Attribute.KEY_TYPE,
    Attribute.LABEL,
    Attribute.ID,
    Attribute.EXTRACTABLE,
    Attribute.ALLOWED_MECHANISMS,
)
_CLASS_ATTRIBUTES = {
    ObjectClass.PRIVATE_KEY: (
        Attribute.SIGN,
        Attribute.ALWAYS_AUTHENTICATE,
        Attribute.MODULUS,
        Attribute.PUBLIC_EXPONENT,
        Attribute.EC_PARAMS,
    ),
    ObjectClass.SECRET_KEY: (
        Attribute.ENCRYPT,
        Attribute.DECRYPT,
        Attribute.WRAP,
        Attribute.UNWRAP,
        Attribute.VALUE_LEN,
    ),
    ObjectClass.PUBLIC_KEY: (Attribute.EC_PARAMS, Attribute.EC_POINT, Attribute.MODULUS, Attribute.PUBLIC_EXPONENT),
}
_RSA_KINDS = {bits: kind for kind, bits in RSA_SIZES.items()}
_AES_KINDS = {length: kind for kind, length in SYMMETRIC_KEY_LENGTHS.items()}


class KeyObject:
    """A private, public or secret key in a token.

    ``identifier``: its CKA_ID. ``kind``: its type, or None if Sealyard does not support it.
    """

    def __init__(self, pkcs11_object: pkcs11.Object, attributes: Mapping[Attribute, Any]) -> None:
        self.pkcs11_object: Any = pkcs11_object
        self.attributes = attributes
        self.label: str = attributes.get(Attribute.LABEL, "")
        self.identifier: bytes = attributes.get(Attribute.ID, b"")
        self.kind = _find_kind(attributes)

    @property
    def native_id(self) -> str:
        return self.identifier.hex()

    def allows(self, *attributes: Attribute) -> bool:
        """Return whether all of these attributes, such as CKA_SIGN, are true."""
        return all(self.attributes.get(attribute, False) for attribute in attributes)

    def can_use(self, session: TokenSession, mechanism: Mechanism | None, flags: MechanismFlag) -> bool:
        """Return whether the token has the mechanism for this key, and the key is not restricted to others."""
        if not has_mechanism(session.mechanisms, mechanism, flags, RSA_SIZES.get(self.kind) if self.kind else None):
            return False
        allowed = self.attributes.get(Attribute.ALLOWED_MECHANISMS, b"")
        return not allowed or mechanism in [number for (number,) in struct.iter_unpack("L", allowed)]


def search_keys(session: TokenSession, object_class: ObjectClass, **criteria: Any) -> list[KeyObject]:
    """Return the stored keys of a class. ``criteria``: ``label`` and ``identifier`` that they have."""
    template: dict[Attribute, Any] = {Attribute.CLASS: object_class, Attribute.TOKEN: True}
    if criteria.get("label") is not None:
        template[Attribute.LABEL] = criteria["label"]
    if criteria.get("identifier") is not None:
        template[Attribute.ID] = criteria["identifier"]
    # All objects are found before their attributes are read: some modules allow no other call during a search.
    objects = list(session.session.get_objects(template))
    return [read_key(found_object, object_class) for found_object in objects]


def read_key(pkcs11_object: pkcs11.Object, object_class: ObjectClass) -> KeyObject:
    """Read the attributes of an object. Those that it does not have are omitted."""
    attributes = [*_COMMON_ATTRIBUTES, *_CLASS_ATTRIBUTES[object_class]]
    try:
        return KeyObject(pkcs11_object, pkcs11_object.get_attributes(attributes))
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
        pass
    # Some modules fail for all attributes if the object does not have one of them.
    values: dict[Attribute, Any] = {}
    for attribute in attributes:
        try:
            values[attribute] = pkcs11_object[attribute]
        except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
            continue
    return KeyObject(pkcs11_object, values)


def _find_kind(attributes: Mapping[Attribute, Any]) -> KeyType | None:
    match attributes.get(Attribute.KEY_TYPE):
        case pkcs11.KeyType.RSA:
            modulus = int.from_bytes(attributes.get(Attribute.MODULUS, b""), "big")
            return _RSA_KINDS.get(modulus.bit_length())
        case pkcs11.KeyType.EC if attributes.get(Attribute.EC_PARAMS) == P256_PARAMETERS:
            return KeyType.EC_P256
        case pkcs11.KeyType.EC_EDWARDS if attributes.get(Attribute.EC_PARAMS) in _ED25519_ENCODINGS:
            return KeyType.ED25519
        case pkcs11.KeyType.AES:
            return _AES_KINDS.get(attributes.get(Attribute.VALUE_LEN, 0))
    return None
