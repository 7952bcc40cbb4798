"""Tests of signatures: published vectors, and rejected keys and inputs.

``wycheproof_signatures.json`` is a selection from Project Wycheproof (Apache-2.0); it names commit and files.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.crypto.signatures import key_type_of, sign, verify
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidInputError, InvalidKeyError
from tests.support.key_files import private_key

WYCHEPROOF = json.loads((Path(__file__).parent / "wycheproof_signatures.json").read_text())
WYCHEPROOF_CASES = [
    pytest.param(
        SigningAlgorithm(file["algorithm"]), key["spki"], case, id=f"{file['file']}-{case['id']}-{case['comment']}"
    )
    for file in WYCHEPROOF["files"]
    for key in file["keys"]
    for case in key["cases"]
]

ML_DSA = json.loads((Path(__file__).parent / "ml_dsa_vectors.json").read_text())
"""Vectors of NIST ACVP (key generation) and Project Wycheproof (verification); the file names commits and files."""

MlDsaKey = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey

ML_DSA_CASES = [
    pytest.param(SigningAlgorithm(file["algorithm"]), key["spki"], case, id=f"{file['algorithm']}-{case['id']}")
    for file in ML_DSA["verification"]["files"]
    for key in file["keys"]
    for case in key["cases"]
]
ML_DSA_KEYS: dict[str, Callable[[bytes], MlDsaKey]] = {
    "ML_DSA_44": mldsa.MLDSA44PrivateKey.from_seed_bytes,
    "ML_DSA_65": mldsa.MLDSA65PrivateKey.from_seed_bytes,
    "ML_DSA_87": mldsa.MLDSA87PrivateKey.from_seed_bytes,
}

# RFC 8032, section 7.1, tests 1 to 3: secret key, message, signature
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("algorithm", "spki", "case"), WYCHEPROOF_CASES)
def test_wycheproof_vectors_match(algorithm: SigningAlgorithm, spki: str, case: dict[str, Any]) -> None:
    key = load_der_public_key(bytes.fromhex(spki))
    message, signature = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
    assert verify(key, algorithm, message, signature, prehashed=False) is case["valid"]


@pytest.mark.parametrize(("algorithm", "spki", "case"), ML_DSA_CASES)
def test_wycheproof_ml_dsa_vectors_match(algorithm: SigningAlgorithm, spki: str, case: dict[str, Any]) -> None:
    key = load_der_public_key(b64decode(spki))
    message, signature = b64decode(case["message"]), b64decode(case["signature"])
    assert verify(key, algorithm, message, signature, prehashed=False) is case["valid"]


@pytest.mark.parametrize("case", ML_DSA["keyGeneration"]["cases"], ids=lambda case: f"{case['algorithm']}-{case['id']}")
def test_acvp_ml_dsa_keys_match(case: dict[str, Any]) -> None:
    """The key of a seed has the expected public key, and signs for the algorithm of its parameter set only."""
    key = ML_DSA_KEYS[case["algorithm"]](bytes.fromhex(case["seed"]))
    public_key = key.public_key()
    assert hashlib.sha256(public_key.public_bytes_raw()).hexdigest() == case["publicKeySha256"]
    assert key_type_of(public_key) == case["algorithm"]
    signature = sign(key, SigningAlgorithm(case["algorithm"]), b"message", prehashed=False)
    assert verify(public_key, SigningAlgorithm(case["algorithm"]), b"message", signature, prehashed=False)


@pytest.mark.parametrize(("secret", "message", "signature"), RFC_8032)
def test_ed25519_matches_rfc_8032(secret: str, message: str, signature: str) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    signed = bytes.fromhex(message)
    assert sign(key, SigningAlgorithm.ED25519, signed, prehashed=False).hex() == signature
    assert verify(key.public_key(), SigningAlgorithm.ED25519, signed, bytes.fromhex(signature), prehashed=False)


def test_ecdsa_verifies_rfc_6979_vector() -> None:
    # RFC 6979, appendix A.2.5, with SHA-256 and the message "sample"
    key = ec.derive_private_key(
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1()
    ).public_key()
    signature = encode_dss_signature(
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    )
    assert verify(key, SigningAlgorithm.ECC_NIST_P256, b"sample", signature, prehashed=False)
    assert not verify(key, SigningAlgorithm.ECC_NIST_P256, b"Sample", signature, prehashed=False)


@pytest.mark.parametrize(
    ("algorithm", "kind"), [(name, kind) for name, spec in SIGNATURES.items() for kind in spec.key_kinds]
)
def test_verify_rejects_changed_data_or_signature(algorithm: SigningAlgorithm, kind: KeyType) -> None:
    key = private_key(kind)
    signature = sign(key, algorithm, b"firmware", prehashed=False)
    public = key.public_key()
    assert verify(public, algorithm, b"firmware", signature, prehashed=False)
    assert not verify(public, algorithm, b"firmwarf", signature, prehashed=False)
    for other in (signature + b"\0", signature[:-1], b"\0" + signature, b""):
        assert not verify(public, algorithm, b"firmware", other, prehashed=False)


@pytest.mark.parametrize("algorithm", [name for name, spec in SIGNATURES.items() if spec.hash])
def test_prehashed_signature_equals_message_signature(algorithm: SigningAlgorithm) -> None:
    spec = SIGNATURES[algorithm]
    assert spec.hash is not None
    key = private_key(spec.default_key_kind)
    digest = hashlib.new(spec.hash, b"firmware").digest()
    signature = sign(key, algorithm, digest, prehashed=True)
    assert verify(key.public_key(), algorithm, b"firmware", signature, prehashed=False)
    assert verify(key.public_key(), algorithm, digest, signature, prehashed=True)


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
def test_digest_of_wrong_length_is_rejected(algorithm: SigningAlgorithm) -> None:
    key = private_key(SIGNATURES[algorithm].default_key_kind)
    digest = bytes(32 if SIGNATURES[algorithm].hash is HashName.SHA512 else 64)
    with pytest.raises(InvalidInputError):
        sign(key, algorithm, digest, prehashed=True)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        (name, kind)
        for name, spec in SIGNATURES.items()
        for kind in KeyType
        if not kind.symmetric and kind not in spec.key_kinds
    ],
)
def test_key_of_another_type_is_rejected(algorithm: SigningAlgorithm, kind: KeyType) -> None:
    key = private_key(kind)
    with pytest.raises(InvalidKeyError):
        sign(key, algorithm, b"x", prehashed=False)
    with pytest.raises(InvalidKeyError):
        verify(key.public_key(), algorithm, b"x", b"x", prehashed=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate,
        lambda: dsa.generate_private_key(1024),
    ],
)
def test_unsupported_key_type_is_rejected(make: Callable[[], PrivateKeyTypes]) -> None:
    with pytest.raises(InvalidKeyError):
        key_type_of(make().public_key())


def test_pss_salt_of_wrong_length_is_rejected() -> None:
    key = private_key(KeyType.RSA_3072)
    assert isinstance(key, rsa.RSAPrivateKey)
    for salt, accepted in ((0, False), (20, False), (31, False), (32, True), (64, False)):
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
        signature = key.sign(b"x", pss, hashes.SHA256())
        assert verify(key.public_key(), SigningAlgorithm.RSA_3072, b"x", signature, prehashed=False) is accepted


def test_ecdsa_accepts_only_der_encoding() -> None:
    key = private_key(KeyType.EC_P256)
    signature = sign(key, SigningAlgorithm.SHA256_ECDSA, b"x", prehashed=False)
    r, s = decode_dss_signature(signature)
    long_form = b"\x30\x81" + signature[1:]
    raw = r.to_bytes(32) + s.to_bytes(32)
    for other in (long_form, raw):
        assert not verify(key.public_key(), SigningAlgorithm.SHA256_ECDSA, b"x", other, prehashed=False)


def test_signature_of_another_algorithm_is_rejected() -> None:
    algorithms = (SigningAlgorithm.SHA256_PKCS_V15_3072, SigningAlgorithm.SHA256_PSS, SigningAlgorithm.SHA512_PSS)
    key = private_key(KeyType.RSA_3072)
    for signing in algorithms:
        signature = sign(key, signing, b"x", prehashed=False)
        for verifying in algorithms:
            assert verify(key.public_key(), verifying, b"x", signature, prehashed=False) is (signing is verifying)
