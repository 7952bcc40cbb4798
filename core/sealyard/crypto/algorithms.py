"""What every algorithm's name means in bytes: the one place that says so.

Imports no cryptography, so that cheap paths (listing, checking a request) stay cheap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError

BLOCK_LENGTH = 16
"""Bytes in one block of AES, and in each IV."""

SHA256_LENGTH = 32

MESSAGE_LIMIT = 1024 * 1024
"""The longest message, in bytes, that a signing task takes."""

SYMMETRIC_KEY_LENGTHS: Mapping[KeyType, int] = MappingProxyType({KeyType.AES_128: 16, KeyType.AES_256: 32})
"""Bytes in a key of each symmetric kind."""

SIGNATURE_LENGTHS: Mapping[KeyType, int] = MappingProxyType(
    {KeyType.RSA_2048: 256, KeyType.RSA_3072: 384, KeyType.RSA_4096: 512, KeyType.ED25519: 64}
)
"""Bytes in a signature by each kind of key; EC_P256 is missing, for the length of its DER varies."""


class CipherMode(StrEnum):
    """Modes of operation (NIST SP 800-38A)."""

    CBC = "CBC"
    ECB = "ECB"
    CTR = "CTR"


class Padding(StrEnum):
    """How the last block is filled. ``ZERO`` adds nothing to a full block and is never stripped."""

    PKCS7 = "PKCS7"
    ZERO = "ZERO"
    NONE = "NONE"


class HashName(StrEnum):
    """Hash functions, named as :mod:`hashlib` names them."""

    SHA256 = "sha256"
    SHA512 = "sha512"


class SignatureScheme(StrEnum):
    """PKCS #1 v1.5 and PSS (RFC 8017; MGF1 with the same hash, salt as long as it), ECDSA, Ed25519 (RFC 8032)."""

    PKCS1_V15 = "PKCS1_V15"
    PSS = "PSS"
    ECDSA = "ECDSA"
    ED25519 = "ED25519"


class SigningInput(StrEnum):
    """What a signing task hands in: the message itself, or its finished SHA-256 (exactly 32 bytes)."""

    MESSAGE = "MESSAGE"
    SHA256_DIGEST = "SHA256_DIGEST"


class SignatureEncoding(StrEnum):
    """How the bytes of a signature are laid out.

    ``RAW``: RSA, big-endian, as long as the modulus; Ed25519, 64 bytes R then S. ``DER``: the ECDSA-Sig-Value
    of RFC 3279. A signing task's outcome is either of them in standard Base64.
    """

    RAW = "RAW"
    DER = "DER"


class CipherSpec(FrozenStruct, frozen=True, kw_only=True):
    """One encryption algorithm; ``number`` is its ``ec`` in se-1, lengths are in bytes."""

    algorithm: EncryptionAlgorithm
    number: int
    key_kind: KeyType
    mode: CipherMode
    padding: Padding
    iv_length: int
    block_multiple: int  # a ciphertext's length is a multiple of it
    caveats: tuple[str, ...]


class SignatureSpec(FrozenStruct, frozen=True, kw_only=True):
    """One signature algorithm; ``number`` is its ``sc`` in se-1, shared by algorithms that differ in key size."""

    algorithm: SigningAlgorithm
    number: int
    key_kinds: tuple[KeyType, ...]  # the first is the one to generate
    scheme: SignatureScheme
    hash: HashName | None  # None: the scheme hashes by itself
    input: SigningInput
    encoding: SignatureEncoding
    caveats: tuple[str, ...]

    @property
    def default_key_kind(self) -> KeyType:
        return self.key_kinds[0]


_UNAUTHENTICATED = "The cipher alone does not notice changed bytes; only the signature does."
_PATTERNS = "Equal blocks of firmware give equal blocks of ciphertext, so patterns stay visible."
_ZERO_PADDING = "Zero padding is never stripped: an opened file may end in up to 15 more zero bytes."
_SHORT_RSA = "RSA with 2048 bits is meant for devices that take nothing longer."
_OLD_SCHEME = "PKCS #1 v1.5 is meant for devices that cannot check PSS."
_BARE_DIGEST = "A signing task hands in a bare digest: the approver cannot see what is signed."


def _cipher(algorithm: EncryptionAlgorithm, number: int, mode: CipherMode, padding: Padding) -> CipherSpec:
    caveats = [_UNAUTHENTICATED]
    if mode is CipherMode.ECB:
        caveats.append(_PATTERNS)
    if padding is Padding.ZERO:
        caveats.append(_ZERO_PADDING)
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


def _signature(
    algorithm: SigningAlgorithm,
    number: int,
    key_kinds: tuple[KeyType, ...],
    scheme: SignatureScheme,
    hash_name: HashName | None,
    *caveats: str,
    takes: SigningInput = SigningInput.MESSAGE,
) -> SignatureSpec:
    return SignatureSpec(
        algorithm=algorithm,
        number=number,
        key_kinds=key_kinds,
        scheme=scheme,
        hash=hash_name,
        input=takes,
        encoding=SignatureEncoding.DER if scheme is SignatureScheme.ECDSA else SignatureEncoding.RAW,
        caveats=caveats,
    )


def _ciphers() -> Mapping[EncryptionAlgorithm, CipherSpec]:
    names, modes, paddings = EncryptionAlgorithm, CipherMode, Padding
    specs = (
        _cipher(names.AES256_CBC_PKCS7_PAD, 0, modes.CBC, paddings.PKCS7),
        _cipher(names.AES128_CBC_PKCS7_PAD, 1, modes.CBC, paddings.PKCS7),
        _cipher(names.AES256_CBC_ZERO_BYTE_PAD, 2, modes.CBC, paddings.ZERO),
        _cipher(names.AES256_ECB_ZERO_BYTE_PAD, 3, modes.ECB, paddings.ZERO),
        _cipher(names.AES128_ECB_ZERO_BYTE_PAD, 4, modes.ECB, paddings.ZERO),
        _cipher(names.AES128_CTR_NO_PAD, 5, modes.CTR, paddings.NONE),
    )
    return MappingProxyType({spec.algorithm: spec for spec in specs})


def _signatures() -> Mapping[SigningAlgorithm, SignatureSpec]:
    names, schemes = SigningAlgorithm, SignatureScheme
    sha256, sha512, digest = HashName.SHA256, HashName.SHA512, SigningInput.SHA256_DIGEST
    rsa_2048, rsa_3072, rsa_4096 = (KeyType.RSA_2048,), (KeyType.RSA_3072,), (KeyType.RSA_4096,)
    long_rsa, p256, ed25519 = rsa_3072 + rsa_4096, (KeyType.EC_P256,), (KeyType.ED25519,)
    specs = (
        _signature(names.RSA_3072, 4, rsa_3072, schemes.PSS, sha256),
        _signature(names.RSA_4096, 5, rsa_4096, schemes.PSS, sha256),
        _signature(names.ECC_NIST_P256, 6, p256, schemes.ECDSA, sha256),
        _signature(names.ED25519, 7, ed25519, schemes.ED25519, None),
        _signature(names.SHA256_RSA_3072_PSS, 4, rsa_3072, schemes.PSS, sha256, _BARE_DIGEST, takes=digest),
        _signature(names.SHA256_RSA_4096_PSS, 5, rsa_4096, schemes.PSS, sha256, _BARE_DIGEST, takes=digest),
        _signature(names.SHA256_PKCS_V15_2048, 0, rsa_2048, schemes.PKCS1_V15, sha256, _OLD_SCHEME, _SHORT_RSA),
        _signature(names.SHA256_PKCS_V15_3072, 0, rsa_3072, schemes.PKCS1_V15, sha256, _OLD_SCHEME),
        _signature(names.SHA256_ECDSA, 1, p256, schemes.ECDSA, sha256),
        _signature(names.SHA256_PSS, 2, long_rsa, schemes.PSS, sha256),
        _signature(names.SHA512_PSS, 3, long_rsa, schemes.PSS, sha512),
    )
    return MappingProxyType({spec.algorithm: spec for spec in specs})


CIPHERS = _ciphers()
"""Every encryption algorithm."""

SIGNATURES = _signatures()
"""Every signature algorithm."""


def encrypted_length(algorithm: EncryptionAlgorithm, plain_size: int) -> int:
    """The length in bytes of the ciphertext of ``plain_size`` bytes, with padding and without IV."""
    match CIPHERS[algorithm].padding:
        case Padding.PKCS7:
            return plain_size + BLOCK_LENGTH - plain_size % BLOCK_LENGTH
        case Padding.ZERO:
            return plain_size + -plain_size % BLOCK_LENGTH
        case Padding.NONE:
            return plain_size


def signing_input(algorithm: SigningAlgorithm, header: bytes) -> bytes:
    """What a :class:`~sealyard.keys.provider.Signer` is given to sign a container's ``header``."""
    if SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST:
        return hashlib.sha256(header).digest()
    return header


def check_signing_input(algorithm: SigningAlgorithm, data: bytes) -> None:
    """Raises :class:`InvalidInputError` where ``data`` is not what a signing task takes for ``algorithm``."""
    check_message_size(algorithm, len(data))


def check_message_size(algorithm: SigningAlgorithm, size: int) -> None:
    """Raises :class:`InvalidInputError` where a signing task takes nothing of ``size`` bytes for ``algorithm``."""
    if SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST:
        if size != SHA256_LENGTH:
            raise InvalidInputError(
                f"{algorithm} signs a finished SHA-256 of exactly {SHA256_LENGTH} bytes; these are {size}.",
                "Hash the message first, and hand in the 32 bytes, not their hexadecimal text.",
            )
        return
    if not size:
        raise InvalidInputError("There is nothing to sign.", "Hand in a message of at least one byte.")
    if size > MESSAGE_LIMIT:
        raise InvalidInputError(
            f"The message has {size} bytes; a signing task takes at most {MESSAGE_LIMIT}.",
            "Sign a package instead, or an algorithm that takes a digest.",
        )
