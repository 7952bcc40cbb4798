"""Sign and verify with keys whose bytes are in this process."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from sealyard.crypto.algorithms import (
    SIGNATURE_LENGTHS,
    SIGNATURES,
    SignatureEncoding,
    SignatureScheme,
    SignatureSpec,
)
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidInputError, InvalidKeyError

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)
"""A private key of one of the supported types."""

_RSA_KEY_TYPES = {2048: KeyType.RSA_2048, 3072: KeyType.RSA_3072, 4096: KeyType.RSA_4096}
_HASHES: dict[HashName, hashes.HashAlgorithm] = {
    HashName.SHA256: hashes.SHA256(),
    HashName.SHA512: hashes.SHA512(),
}


def key_type_of(public_key: PublicKeyTypes) -> KeyType:
    """Return the type of ``public_key``.

    Raises :class:`InvalidKeyError` if no algorithm of the catalogue supports its type, size or curve.
    """
    match public_key:
        case rsa.RSAPublicKey() if public_key.key_size in _RSA_KEY_TYPES:
            return _RSA_KEY_TYPES[public_key.key_size]
        case rsa.RSAPublicKey():
            description = f"an RSA key of {public_key.key_size} bits"
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return KeyType.EC_P256
        case ec.EllipticCurvePublicKey():
            description = f"an EC key on the curve {public_key.curve.name}"
        case ed25519.Ed25519PublicKey():
            return KeyType.ED25519
        case mldsa.MLDSA44PublicKey():
            return KeyType.ML_DSA_44
        case mldsa.MLDSA65PublicKey():
            return KeyType.ML_DSA_65
        case mldsa.MLDSA87PublicKey():
            return KeyType.ML_DSA_87
        case _:
            description = "an unknown key type"
    raise InvalidKeyError(
        f"Unsupported key: {description}.",
        "Use RSA with 2048, 3072 or 4096 bits, EC on NIST P-256, Ed25519, or ML-DSA.",
    )


def sign(private_key: PrivateKeyTypes, algorithm: SigningAlgorithm, data: bytes, *, prehashed: bool) -> bytes:
    """Return the signature of ``data``, in the encoding that the catalogue defines for ``algorithm``.

    If ``prehashed`` is true, ``data`` is the digest of the message (32 bytes for SHA-256, 64 for SHA-512).

    Raises :class:`InvalidKeyError` if the key type does not match ``algorithm``, and :class:`InvalidInputError` if the
    digest has the wrong length or ``algorithm`` is Ed25519 or ML-DSA, which do not accept a digest.
    """
    spec = SIGNATURES[algorithm]
    _check_key_type(spec, private_key.public_key())
    match private_key:
        case rsa.RSAPrivateKey():
            return private_key.sign(data, _rsa_padding(spec), _hash_algorithm(spec, data, prehashed))
        case ec.EllipticCurvePrivateKey():
            return private_key.sign(data, ec.ECDSA(_hash_algorithm(spec, data, prehashed)))
        case (
            ed25519.Ed25519PrivateKey()
            | mldsa.MLDSA44PrivateKey()
            | mldsa.MLDSA65PrivateKey()
            | mldsa.MLDSA87PrivateKey()
        ):
            _reject_prehashed(spec, prehashed)
            return private_key.sign(data)
        case _:
            raise AssertionError("the key was checked")


def verify(
    public_key: PublicKeyTypes, algorithm: SigningAlgorithm, data: bytes, signature: bytes, *, prehashed: bool
) -> bool:
    """Return whether ``signature`` is a valid signature of ``data`` by ``public_key``, in its only valid encoding.

    The length of an RSA, Ed25519 or ML-DSA signature must match the key exactly; an ECDSA signature must be strict DER
    (X.690, section 10). Raises the same exceptions as :func:`sign`.
    """
    spec = SIGNATURES[algorithm]
    kind = _check_key_type(spec, public_key)
    if not _has_valid_encoding(spec, kind, signature):
        return False
    try:
        match public_key:
            case rsa.RSAPublicKey():
                public_key.verify(signature, data, _rsa_padding(spec), _hash_algorithm(spec, data, prehashed))
            case ec.EllipticCurvePublicKey():
                public_key.verify(signature, data, ec.ECDSA(_hash_algorithm(spec, data, prehashed)))
            case (
                ed25519.Ed25519PublicKey()
                | mldsa.MLDSA44PublicKey()
                | mldsa.MLDSA65PublicKey()
                | mldsa.MLDSA87PublicKey()
            ):
                _reject_prehashed(spec, prehashed)
                public_key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _check_key_type(spec: SignatureSpec, public_key: PublicKeyTypes) -> KeyType:
    kind = key_type_of(public_key)
    if kind not in spec.key_kinds:
        raise InvalidKeyError(
            f"{spec.algorithm} does not support keys of type {kind}.",
            f"Use a key of type {' or '.join(spec.key_kinds)}.",
        )
    return kind


def _has_valid_encoding(spec: SignatureSpec, kind: KeyType, signature: bytes) -> bool:
    if spec.encoding is SignatureEncoding.RAW:
        return len(signature) == SIGNATURE_LENGTHS[kind]
    try:
        return encode_dss_signature(*decode_dss_signature(signature)) == signature
    except ValueError:
        return False


def _rsa_padding(spec: SignatureSpec) -> padding.AsymmetricPadding:
    if spec.scheme is SignatureScheme.PKCS1_V15:
        return padding.PKCS1v15()
    return padding.PSS(mgf=padding.MGF1(_HASHES[_hash_name(spec)]), salt_length=padding.PSS.DIGEST_LENGTH)


def _hash_algorithm(spec: SignatureSpec, data: bytes, prehashed: bool) -> hashes.HashAlgorithm | Prehashed:
    algorithm = _HASHES[_hash_name(spec)]
    if not prehashed:
        return algorithm
    if len(data) != algorithm.digest_size:
        raise InvalidInputError(
            f"{spec.algorithm} requires a digest of {algorithm.digest_size} bytes; this one has {len(data)}."
        )
    return Prehashed(algorithm)


def _hash_name(spec: SignatureSpec) -> HashName:
    if spec.hash is None:
        raise AssertionError(f"{spec.algorithm} hashes the message internally")
    return spec.hash


def _reject_prehashed(spec: SignatureSpec, prehashed: bool) -> None:
    if prehashed:
        raise InvalidInputError(f"{spec.algorithm} signs the message, not a digest.")
