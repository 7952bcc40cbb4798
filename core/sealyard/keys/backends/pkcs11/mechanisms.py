"""The mechanisms of PKCS#11 for each key type and signature algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pkcs11
from pkcs11 import MGF, Mechanism, MechanismFlag

from sealyard.crypto.algorithms import SignatureScheme, SignatureSpec
from sealyard.model.algorithms import HashName, KeyType
from sealyard.model.base import FrozenStruct

MechanismInfos = Mapping[int, pkcs11.MechanismInfo]
"""The mechanisms of a token that are used here, by their number."""

GENERATORS: Mapping[KeyType, Mechanism] = MappingProxyType(
    {
        KeyType.RSA_2048: Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        KeyType.RSA_3072: Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        KeyType.RSA_4096: Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        KeyType.EC_P256: Mechanism.EC_KEY_PAIR_GEN,
        KeyType.ED25519: Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        KeyType.AES_256: Mechanism.AES_KEY_GEN,
    }
)
"""The mechanism that generates keys of a type."""

RSA_SIZES: Mapping[KeyType, int] = MappingProxyType(
    {KeyType.RSA_2048: 2048, KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}
)


class SigningMechanisms(FrozenStruct, frozen=True, kw_only=True):
    """How a scheme signs. ``digest``: takes a finished digest. ``message``: hashes the message in the token."""

    digest: Mechanism | None
    message: Mechanism | None
    parameter: Any = None


_MESSAGE_MECHANISMS = {
    (SignatureScheme.PSS, HashName.SHA256): Mechanism.SHA256_RSA_PKCS_PSS,
    (SignatureScheme.PSS, HashName.SHA512): Mechanism.SHA512_RSA_PKCS_PSS,
    (SignatureScheme.PKCS1_V15, HashName.SHA256): Mechanism.SHA256_RSA_PKCS,
    (SignatureScheme.ECDSA, HashName.SHA256): Mechanism.ECDSA_SHA256,
    (SignatureScheme.ED25519, None): Mechanism.EDDSA,
}
_DIGEST_MECHANISMS = {
    SignatureScheme.PSS: Mechanism.RSA_PKCS_PSS,
    SignatureScheme.PKCS1_V15: Mechanism.RSA_PKCS,
    SignatureScheme.ECDSA: Mechanism.ECDSA,
}
_PSS_PARAMETERS = {
    HashName.SHA256: (Mechanism.SHA256, MGF.SHA256, 32),
    HashName.SHA512: (Mechanism.SHA512, MGF.SHA512, 64),
}
"""Hash function, mask generation function, and length of the salt."""

_USED_MECHANISMS = frozenset(
    {
        *GENERATORS.values(),
        *_MESSAGE_MECHANISMS.values(),
        *_DIGEST_MECHANISMS.values(),
        Mechanism.AES_GCM,
        Mechanism.AES_KEY_WRAP,
    }
)


def find_signing_mechanisms(spec: SignatureSpec) -> SigningMechanisms:
    """Return the mechanisms of an algorithm, whether or not a token has them."""
    parameter = None
    if spec.scheme is SignatureScheme.PSS and spec.hash is not None:
        parameter = _PSS_PARAMETERS[spec.hash]
    return SigningMechanisms(
        digest=_DIGEST_MECHANISMS.get(spec.scheme),
        message=_MESSAGE_MECHANISMS.get((spec.scheme, spec.hash)),
        parameter=parameter,
    )


def read_mechanisms(slot: pkcs11.Slot) -> MechanismInfos:
    """Return the mechanisms of the token in ``slot`` that are used here."""
    infos: dict[int, pkcs11.MechanismInfo] = {}
    for mechanism in slot.get_mechanisms() & _USED_MECHANISMS:
        with suppress(pkcs11.MechanismInvalid):
            infos[mechanism] = slot.get_mechanism_info(mechanism)
    return MappingProxyType(infos)


def has_mechanism(
    infos: MechanismInfos, mechanism: Mechanism | None, flags: MechanismFlag, rsa_bits: int | None = None
) -> bool:
    """Return whether a token has ``mechanism`` for the operations ``flags``, and for RSA keys of this size."""
    info = infos.get(mechanism) if mechanism is not None else None
    if info is None or info.flags & flags != flags:
        return False
    if rsa_bits is None or not info.max_key_length:
        return True
    return (info.min_key_length or 0) <= rsa_bits <= info.max_key_length
