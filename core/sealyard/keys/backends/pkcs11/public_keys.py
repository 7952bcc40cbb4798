"""Public keys and certificates that a token stores with a private key."""

from __future__ import annotations

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Attribute, ObjectClass

from sealyard.crypto.certificates import encode_public_key
from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.key_objects import KeyObject, search_keys
from sealyard.keys.der import OCTET_STRING, read_element
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_POINT_LENGTHS = {KeyType.EC_P256: 65, KeyType.ED25519: 32}


def load_public_key(session: TokenSession, key: KeyObject, uri: str) -> CertificatePublicKeyTypes:
    """Return the public key of a private key: of its own attributes, a public key object or a certificate.

    Raises :class:`InvalidKeyError` if the token does not store it, or several different ones.
    """
    candidates = [key] if Attribute.PUBLIC_EXPONENT in key.attributes else _search_public_keys(session, key)
    public_keys: list[CertificatePublicKeyTypes] = [_build_public_key(candidate, uri) for candidate in candidates]
    if not public_keys:
        public_keys = [certificate.public_key() for certificate in _search_certificates(session, key)]
    encodings = {encode_public_key(public_key) for public_key in public_keys}
    if len(encodings) == 1:
        return public_keys[0]
    token = session.token.label
    if encodings:
        raise InvalidKeyError(
            f"The token {token} has several public keys for the key {uri}.",
            f"Remove those that do not belong to it: all have the CKA_ID {key.native_id}.",
        )
    raise InvalidKeyError(
        f"The token {token} has no public key for the key {uri}.",
        f"Store its public key or certificate with the CKA_ID {key.native_id} in the token.",
    )


def load_certificate(session: TokenSession, key: KeyObject, public_key: CertificatePublicKeyTypes) -> str | None:
    """Return the certificate (PEM) that the token stores for this key, the one that is valid longest, or None."""
    expected = encode_public_key(public_key)
    certificates = [
        certificate
        for certificate in _search_certificates(session, key)
        if encode_public_key(certificate.public_key()) == expected
    ]
    if not certificates:
        return None
    newest = max(certificates, key=lambda certificate: certificate.not_valid_after_utc)
    return newest.public_bytes(Encoding.PEM).decode()


def _search_public_keys(session: TokenSession, key: KeyObject) -> list[KeyObject]:
    """Return the public keys with the CKA_ID of ``key``, if possible those with its label as well."""
    found_keys = [
        public_key
        for public_key in search_keys(session, ObjectClass.PUBLIC_KEY, identifier=key.identifier)
        if public_key.kind is key.kind
    ]
    return [public_key for public_key in found_keys if public_key.label == key.label] or found_keys


def _search_certificates(session: TokenSession, key: KeyObject) -> list[x509.Certificate]:
    template = {Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.TOKEN: True, Attribute.ID: key.identifier}
    certificates = []
    for found_object in list(session.session.get_objects(template)):
        try:
            certificates.append(x509.load_der_x509_certificate(found_object[Attribute.VALUE]))
        except (ValueError, pkcs11.AttributeTypeInvalid):
            continue
    return certificates


def _build_public_key(key: KeyObject, uri: str) -> PublicKey:
    try:
        if key.kind is KeyType.EC_P256:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _read_point(key, key.kind))
        if key.kind is KeyType.ED25519:
            return ed25519.Ed25519PublicKey.from_public_bytes(_read_point(key, key.kind))
        exponent, modulus = (
            int.from_bytes(key.attributes[attribute], "big")
            for attribute in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS)
        )
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except (KeyError, ValueError):
        raise InvalidKeyError(
            f"The public key of {uri} in its token cannot be read.", "Store its public key in the token again."
        ) from None


def _read_point(key: KeyObject, kind: KeyType) -> bytes:
    """Return CKA_EC_POINT, which tokens store as a DER octet string (PKCS#11 2.40) or without this encoding."""
    point: bytes = key.attributes[Attribute.EC_POINT]
    return point if len(point) == _POINT_LENGTHS[kind] else read_element(point, OCTET_STRING)
