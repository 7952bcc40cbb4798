"""The algorithm catalogue: the only definition of what each algorithm name means in bytes.

Does not import :mod:`cryptography`, so that cheap code paths (listing, validating a request) start quickly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from sealyard.model.algorithms import EncryptionAlgorithm, HashName, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError

BLOCK_LENGTH = 16
"""Length in bytes of an AES block and of an IV."""

SHA256_LENGTH = 32
"""Length in bytes of a SHA-256 digest."""

MESSAGE_LIMIT = 1024 * 1024
"""Maximum size in bytes of the message of a signing task."""

SYMMETRIC_KEY_LENGTHS: Mapping[KeyType, int] = MappingProxyType({KeyType.AES_128: 16, KeyType.AES_256: 32})
"""Length in bytes of each type of symmetric key."""

SIGNATURE_LENGTHS: Mapping[KeyType, int] = MappingProxyType(
    {
        KeyType.RSA_2048: 256,
        KeyType.RSA_3072: 384,
        KeyType.RSA_4096: 512,
        KeyType.ED25519: 64,
        KeyType.ML_DSA_44: 2420,
        KeyType.ML_DSA_65: 3309,
        KeyType.ML_DSA_87: 4627,
    }
)
"""Length in bytes of a signature, by key type. Omits EC_P256: the length of a DER-encoded signature varies."""


class CipherMode(StrEnum):
    """Block cipher modes of operation (NIST SP 800-38A)."""

    CBC = "CBC"
    ECB = "ECB"
    CTR = "CTR"


class Padding(StrEnum):
    """Padding of the last block. ``ZERO`` adds nothing to a full block and is not removed on decryption."""

    PKCS7 = "PKCS7"
    ZERO = "ZERO"
    NONE = "NONE"


class SignatureScheme(StrEnum):
    """Signature schemes: RSA PKCS #1 v1.5 and PSS (RFC 8017), ECDSA, Ed25519 (RFC 8032), ML-DSA (FIPS 204).

    PSS uses MGF1 with the same hash function, and a salt of the length of the hash. ML-DSA signs the message itself
    (pure ML-DSA), with an empty context.
    """

    PKCS1_V15 = "PKCS1_V15"
    PSS = "PSS"
    ECDSA = "ECDSA"
    ED25519 = "ED25519"
    ML_DSA = "ML_DSA"


class SigningInput(StrEnum):
    """Input of a signing task: the message itself, or its SHA-256 digest (exactly 32 bytes)."""

    MESSAGE = "MESSAGE"
    SHA256_DIGEST = "SHA256_DIGEST"


class SignatureEncoding(StrEnum):
    """Binary encoding of a signature.

    ``RAW``: for RSA, a big-endian integer of the length of the modulus; for Ed25519, R followed by S (64 bytes);
    for ML-DSA, the encoding of FIPS 204.
    ``DER``: the ECDSA-Sig-Value of RFC 3279. The result of a signing task is this encoding in standard Base64.
    """

    RAW = "RAW"
    DER = "DER"


class CipherSpec(FrozenStruct, frozen=True, kw_only=True):
    """An encryption algorithm. ``number`` is its ``ec`` value in the se-1 format; lengths are in bytes."""

    algorithm: EncryptionAlgorithm
    number: int
    key_kind: KeyType
    mode: CipherMode
    padding: Padding
    iv_length: int
    block_multiple: int  # the ciphertext length is a multiple of this
    caveats: tuple[str, ...]


class SignatureSpec(FrozenStruct, frozen=True, kw_only=True):
    """A signature algorithm.

    ``number`` is its ``sc`` value in the se-1 format; None if the format does not define the algorithm. Algorithms that
    differ only in key size or input share it.
    """

    algorithm: SigningAlgorithm
    number: int | None
    key_kinds: tuple[KeyType, ...]  # the first is the default for new keys
    scheme: SignatureScheme
    hash: HashName | None  # None: the scheme includes the hash
    input: SigningInput
    encoding: SignatureEncoding
    caveats: tuple[str, ...]

    @property
    def default_key_kind(self) -> KeyType:
        return self.key_kinds[0]


_UNAUTHENTICATED_CAVEAT = "This cipher is not authenticated: tampering is detected only by the signature."
_ECB_CAVEAT = "ECB leaks patterns: identical plaintext blocks encrypt to identical ciphertext."
_ZERO_PADDING_CAVEAT = "Zero padding is not removed: an opened file can end with up to 15 extra zero bytes."
_SHORT_RSA_CAVEAT = "Use RSA-2048 only for devices that do not support longer keys."
_PKCS1_V15_CAVEAT = "Use PKCS #1 v1.5 only for devices that do not support PSS."
_ML_DSA_CAVEAT = "Verifying ML-DSA needs a library that supports FIPS 204, for example OpenSSL 3.5."
_DIGEST_CAVEAT = "Only a digest is submitted, so approvers cannot see what will be signed."


def _cipher_spec(algorithm: EncryptionAlgorithm, number: int, mode: CipherMode, padding: Padding) -> CipherSpec:
    caveats = [_UNAUTHENTICATED_CAVEAT]
    if mode is CipherMode.ECB:
        caveats.append(_ECB_CAVEAT)
    if padding is Padding.ZERO:
        caveats.append(_ZERO_PADDING_CAVEAT)
    return CipherSpec(
        algorithm=algorithm,
        number=number,
        key_kind=KeyType.AES_256 if algorithm.startswith("AES256") else KeyType.AES_128,
        mode=mode,
        padding=padding,
        iv_length=0 if mode is CipherMode.ECB else BLOCK_LENGTH,
        block_multiple=1 if mode is CipherMode.CTR else BLOCK_LENGTH,
        caveats=tuple(caveats),
    )


def _signature_spec(
    algorithm: SigningAlgorithm,
    number: int | None,
    key_kinds: tuple[KeyType, ...],
    scheme: SignatureScheme,
    hash_name: HashName | None,
    *caveats: str,
    input_type: SigningInput = SigningInput.MESSAGE,
) -> SignatureSpec:
    return SignatureSpec(
        algorithm=algorithm,
        number=number,
        key_kinds=key_kinds,
        scheme=scheme,
        hash=hash_name,
        input=input_type,
        encoding=SignatureEncoding.DER if scheme is SignatureScheme.ECDSA else SignatureEncoding.RAW,
        caveats=caveats,
    )


def _build_ciphers() -> Mapping[EncryptionAlgorithm, CipherSpec]:
    names, modes, paddings = EncryptionAlgorithm, CipherMode, Padding
    specs = (
        _cipher_spec(names.AES256_CBC_PKCS7_PAD, 0, modes.CBC, paddings.PKCS7),
        _cipher_spec(names.AES128_CBC_PKCS7_PAD, 1, modes.CBC, paddings.PKCS7),
        _cipher_spec(names.AES256_CBC_ZERO_BYTE_PAD, 2, modes.CBC, paddings.ZERO),
        _cipher_spec(names.AES256_ECB_ZERO_BYTE_PAD, 3, modes.ECB, paddings.ZERO),
        _cipher_spec(names.AES128_ECB_ZERO_BYTE_PAD, 4, modes.ECB, paddings.ZERO),
        _cipher_spec(names.AES128_CTR_NO_PAD, 5, modes.CTR, paddings.NONE),
    )
    return MappingProxyType({spec.algorithm: spec for spec in specs})


def _build_signatures() -> Mapping[SigningAlgorithm, SignatureSpec]:
    names, schemes = SigningAlgorithm, SignatureScheme
    sha256, sha512, digest = HashName.SHA256, HashName.SHA512, SigningInput.SHA256_DIGEST
    rsa_2048, rsa_3072, rsa_4096 = (KeyType.RSA_2048,), (KeyType.RSA_3072,), (KeyType.RSA_4096,)
    rsa_3072_or_4096, p256, ed25519 = rsa_3072 + rsa_4096, (KeyType.EC_P256,), (KeyType.ED25519,)
    specs = (
        _signature_spec(names.RSA_3072, 4, rsa_3072, schemes.PSS, sha256),
        _signature_spec(names.RSA_4096, 5, rsa_4096, schemes.PSS, sha256),
        _signature_spec(names.ECC_NIST_P256, 6, p256, schemes.ECDSA, sha256),
        _signature_spec(names.ED25519, 7, ed25519, schemes.ED25519, None),
        _signature_spec(names.SHA256_RSA_3072_PSS, 4, rsa_3072, schemes.PSS, sha256, _DIGEST_CAVEAT, input_type=digest),
        _signature_spec(names.SHA256_RSA_4096_PSS, 5, rsa_4096, schemes.PSS, sha256, _DIGEST_CAVEAT, input_type=digest),
        _signature_spec(
            names.SHA256_PKCS_V15_2048, 0, rsa_2048, schemes.PKCS1_V15, sha256, _PKCS1_V15_CAVEAT, _SHORT_RSA_CAVEAT
        ),
        _signature_spec(names.SHA256_PKCS_V15_3072, 0, rsa_3072, schemes.PKCS1_V15, sha256, _PKCS1_V15_CAVEAT),
        _signature_spec(names.SHA256_ECDSA, 1, p256, schemes.ECDSA, sha256),
        _signature_spec(names.SHA256_PSS, 2, rsa_3072_or_4096, schemes.PSS, sha256),
        _signature_spec(names.SHA512_PSS, 3, rsa_3072_or_4096, schemes.PSS, sha512),
        _signature_spec(names.ML_DSA_44, None, (KeyType.ML_DSA_44,), schemes.ML_DSA, None, _ML_DSA_CAVEAT),
        _signature_spec(names.ML_DSA_65, None, (KeyType.ML_DSA_65,), schemes.ML_DSA, None, _ML_DSA_CAVEAT),
        _signature_spec(names.ML_DSA_87, None, (KeyType.ML_DSA_87,), schemes.ML_DSA, None, _ML_DSA_CAVEAT),
    )
    return MappingProxyType({spec.algorithm: spec for spec in specs})


CIPHERS = _build_ciphers()
"""All encryption algorithms, by name."""

SIGNATURES = _build_signatures()
"""All signature algorithms, by name."""


def encrypted_length(algorithm: EncryptionAlgorithm, plaintext_size: int) -> int:
    """Return the length in bytes of the ciphertext of ``plaintext_size`` bytes, with padding but without the IV."""
    match CIPHERS[algorithm].padding:
        case Padding.PKCS7:
            return plaintext_size + BLOCK_LENGTH - plaintext_size % BLOCK_LENGTH
        case Padding.ZERO:
            return plaintext_size + -plaintext_size % BLOCK_LENGTH
        case Padding.NONE:
            return plaintext_size


def signing_input(algorithm: SigningAlgorithm, header: bytes) -> bytes:
    """Return the bytes to pass to a :class:`~sealyard.keys.provider.Signer` to sign a container's ``header``."""
    if SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST:
        return hashlib.sha256(header).digest()
    return header


def check_signing_input(algorithm: SigningAlgorithm, data: bytes) -> None:
    """Raise :class:`InvalidInputError` if ``data`` is not valid input for a signing task with ``algorithm``."""
    check_message_size(algorithm, len(data))


def check_message_size(algorithm: SigningAlgorithm, message_size: int) -> None:
    """Raise :class:`InvalidInputError` if a signing task with ``algorithm`` rejects ``message_size`` bytes."""
    if SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST:
        if message_size != SHA256_LENGTH:
            raise InvalidInputError(
                f"{algorithm} signs a SHA-256 digest of exactly {SHA256_LENGTH} bytes, not of {message_size}.",
                "Hash the message first and submit the 32 raw bytes, not hexadecimal text.",
            )
        return
    if not message_size:
        raise InvalidInputError("The message is empty.", "Submit a message of at least one byte.")
    if message_size > MESSAGE_LIMIT:
        raise InvalidInputError(
            f"The message has {message_size} bytes; a signing task accepts at most {MESSAGE_LIMIT}.",
            "Create a package, or use an algorithm that signs a digest.",
        )
