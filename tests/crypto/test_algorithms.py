"""Tests of the algorithm registry."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from sealyard.crypto.algorithms import (
    CIPHERS,
    MESSAGE_LIMIT,
    SIGNATURES,
    SignatureScheme,
    SigningInput,
    check_signing_input,
    encrypted_length,
    signing_input,
)
from sealyard.model.algorithms import EncryptionAlgorithm, HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidInputError

DIGEST_ALGORITHMS = (SigningAlgorithm.SHA256_RSA_3072_PSS, SigningAlgorithm.SHA256_RSA_4096_PSS)


def test_every_algorithm_has_a_spec() -> None:
    assert set(CIPHERS) == set(EncryptionAlgorithm)
    assert set(SIGNATURES) == set(SigningAlgorithm)


def test_cipher_numbers_match_container_format() -> None:
    assert [CIPHERS[algorithm].number for algorithm in EncryptionAlgorithm] == [0, 1, 2, 3, 4, 5]


def test_number_and_key_type_identify_scheme() -> None:
    schemes: dict[tuple[int | None, KeyType], set[tuple[SignatureScheme, HashName | None]]] = {}
    for spec in SIGNATURES.values():
        for kind in spec.key_kinds:
            schemes.setdefault((spec.number, kind), set()).add((spec.scheme, spec.hash))
    assert all(len(values) == 1 for values in schemes.values())
    assert {number for number, _ in schemes} == {None, *range(8)}


def test_only_ml_dsa_has_no_number() -> None:
    ml_dsa = {name for name, spec in SIGNATURES.items() if spec.scheme is SignatureScheme.ML_DSA}
    assert {name for name, spec in SIGNATURES.items() if spec.number is None} == ml_dsa


def test_only_digest_algorithms_sign_a_digest() -> None:
    digest_algorithms = {name for name, spec in SIGNATURES.items() if spec.input is SigningInput.SHA256_DIGEST}
    assert digest_algorithms == set(DIGEST_ALGORITHMS)


def test_generic_pss_requires_3072_bits() -> None:
    for name in (SigningAlgorithm.SHA256_PSS, SigningAlgorithm.SHA512_PSS):
        assert SIGNATURES[name].key_kinds == (KeyType.RSA_3072, KeyType.RSA_4096)
        assert SIGNATURES[name].default_key_kind is KeyType.RSA_3072


@pytest.mark.parametrize(
    ("algorithm", "sizes"),
    [
        (EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, {1: 16, 15: 16, 16: 32, 17: 32}),
        (EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD, {1: 16, 15: 16, 16: 16, 17: 32}),
        (EncryptionAlgorithm.AES128_CTR_NO_PAD, {1: 1, 15: 15, 16: 16, 17: 17}),
    ],
)
def test_encrypted_length_depends_on_padding(algorithm: EncryptionAlgorithm, sizes: dict[int, int]) -> None:
    assert {size: encrypted_length(algorithm, size) for size in sizes} == sizes


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
def test_signing_input_is_message_or_digest(algorithm: SigningAlgorithm) -> None:
    expected = hashlib.sha256(b"header").digest() if algorithm in DIGEST_ALGORITHMS else b"header"
    assert signing_input(algorithm, b"header") == expected


@pytest.mark.parametrize("algorithm", DIGEST_ALGORITHMS)
@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_digest_of_wrong_length_is_rejected(algorithm: SigningAlgorithm, length: int) -> None:
    check_signing_input(algorithm, bytes(32))
    with pytest.raises(InvalidInputError):
        check_signing_input(algorithm, bytes(length))


def test_message_of_wrong_length_is_rejected() -> None:
    check_signing_input(SigningAlgorithm.ED25519, b"x")
    check_signing_input(SigningAlgorithm.ED25519, bytes(MESSAGE_LIMIT))
    for message in (b"", bytes(MESSAGE_LIMIT + 1)):
        with pytest.raises(InvalidInputError):
            check_signing_input(SigningAlgorithm.ED25519, message)


def test_import_loads_no_cryptography() -> None:
    code = "import sys, sealyard.crypto.algorithms; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
