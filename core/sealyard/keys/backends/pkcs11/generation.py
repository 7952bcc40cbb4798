"""Generate keys in a token. They can neither be read nor leave it."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

import pkcs11
from pkcs11 import Attribute, Mechanism, MechanismFlag, ObjectClass

from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.key_objects import ED25519_PARAMETERS, P256_PARAMETERS, KeyObject, read_key
from sealyard.keys.backends.pkcs11.mechanisms import GENERATORS, RSA_SIZES, has_mechanism
from sealyard.keys.backends.pkcs11.signing import can_generate_kind
from sealyard.keys.backends.pkcs11.versions import COUNTER_LENGTH, is_used
from sealyard.keys.backends.pkcs11.wrapping import ENCRYPTION, WRAPPING
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError, KeyProviderError

_PREFIX_LENGTH = 8
_AES_BITS = 256

_PROTECTED = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_SIGNING = MechanismFlag.SIGN | MechanismFlag.VERIFY
_CURVES = {
    KeyType.EC_P256: (pkcs11.KeyType.EC, P256_PARAMETERS),
    KeyType.ED25519: (pkcs11.KeyType.EC_EDWARDS, ED25519_PARAMETERS),
}


def first_identifier(session: TokenSession) -> bytes:
    """Return an unused identifier for version 1 of a new key: a random prefix and the number."""
    while is_used(session, identifier := secrets.token_bytes(_PREFIX_LENGTH) + (1).to_bytes(COUNTER_LENGTH, "big")):
        pass
    return identifier


def generate_key(session: TokenSession, kind: KeyType, label: str, identifier: bytes, uri: str) -> KeyObject:
    """Generate a key, for which ``session`` must be able to write.

    Raises :class:`InvalidKeyError` if the token cannot generate keys of this type, and :class:`KeyProviderError` if it
    would let the key be read. Nothing is stored then.
    """
    if not can_generate_kind(session, kind):
        raise InvalidKeyError(
            f"The token {session.token.label} cannot generate a key of type {kind} for {uri}.",
            f"Use one of the types {', '.join(kind for kind in GENERATORS if can_generate_kind(session, kind))}.",
        )
    objects = _generate_objects(session, kind, label, identifier)
    try:
        key = read_key(objects[0], ObjectClass.SECRET_KEY if kind.symmetric else ObjectClass.PRIVATE_KEY)
        if key.attributes.get(Attribute.EXTRACTABLE, True):
            raise KeyProviderError(
                f"The token {session.token.label} generated the key {uri} so that it can be read. It was removed.",
                "Change the settings of the token so that keys cannot be extracted.",
            )
    except BaseException:
        for generated_object in objects:
            with suppress(pkcs11.PKCS11Error):
                generated_object.destroy()
        raise
    return key


def _generate_objects(session: TokenSession, kind: KeyType, label: str, identifier: bytes) -> list[Any]:
    """Return the private or secret key, and the public key if there is one."""
    common: dict[str, Any] = {"id": identifier, "label": label, "store": True}
    if kind is KeyType.AES_256:
        encrypts = has_mechanism(session.mechanisms, Mechanism.AES_GCM, ENCRYPTION)
        capabilities = ENCRYPTION if encrypts else WRAPPING
        key = session.session.generate_key(
            pkcs11.KeyType.AES, _AES_BITS, capabilities=capabilities, template=_PROTECTED, **common
        )
        return [key]
    options = {**common, "capabilities": _SIGNING, "private_template": _PROTECTED, "mechanism": GENERATORS[kind]}
    if kind in RSA_SIZES:
        public_key, private_key = session.session.generate_keypair(pkcs11.KeyType.RSA, RSA_SIZES[kind], **options)
    else:
        key_type, parameters = _CURVES[kind]
        curve = session.session.create_domain_parameters(key_type, {Attribute.EC_PARAMS: parameters}, local=True)
        public_key, private_key = curve.generate_keypair(**options)
    return [private_key, public_key]
