"""Tests of the ciphers: known answers of NIST SP 800-38A, and properties for arbitrary bytes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.crypto.algorithms import CIPHERS, SYMMETRIC_KEY_LENGTHS, Padding, encrypted_length
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.protocols import CipherStream
from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.errors import ContainerError, InvalidKeyError

# NIST SP 800-38A (2001), appendix F: F.1.1, F.1.5, F.2.1, F.2.5, F.5.1
PLAINTEXT = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710"
)
KEYS = {
    16: bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"),
    32: bytes.fromhex("603deb1015ca71be2b73aef0857d7781 1f352c073b6108d72d9810a30914dff4"),
}
CBC_IV = bytes(range(16))
COUNTER = bytes(range(0xF0, 0x100))
CBC_256 = (
    "f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d"
    "39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b"
)
CBC_128 = (
    "7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2"
    "73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7"
)
ECB_256 = (
    "f3eed1bdb5d2a03c064b5a7e3db181f8 591ccb10d410ed26dc5ba74a31362870"
    "b6ed21b99ca6f4f9f153e7b1beafed1d 23304b7a39f9f3ff067d8d8f9e24ecc7"
)
ECB_128 = (
    "3ad77bb40d7a3660a89ecaf32466ef97 f5d3d58503b9699de785895a96fdbaaf"
    "43b1cd7f598ece23881b00e3ed030688 7b0c785e27e8ad3f8223207104725dd4"
)
CTR_128 = (
    "874d6191b620e3261bef6864990db6ce 9806f66b7970fdff8617187bb9fffdff"
    "5ae4df3edbd5d35e5b4f09020db03eab 1e031dda2fbe03d1792170a0f3009cee"
)
KNOWN_ANSWERS = [
    (EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, CBC_IV, CBC_256),
    (EncryptionAlgorithm.AES128_CBC_PKCS7_PAD, CBC_IV, CBC_128),
    (EncryptionAlgorithm.AES256_CBC_ZERO_BYTE_PAD, CBC_IV, CBC_256),
    (EncryptionAlgorithm.AES256_ECB_ZERO_BYTE_PAD, b"", ECB_256),
    (EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD, b"", ECB_128),
    (EncryptionAlgorithm.AES128_CTR_NO_PAD, COUNTER, CTR_128),
]


def cipher_for(algorithm: EncryptionAlgorithm) -> AesCipher:
    return AesCipher(algorithm, KEYS[SYMMETRIC_KEY_LENGTHS[CIPHERS[algorithm].key_kind]])


def iv_for(algorithm: EncryptionAlgorithm) -> bytes:
    return CBC_IV[: CIPHERS[algorithm].iv_length]


def run(stream: CipherStream, pieces: Iterable[bytes]) -> bytes:
    output = b""
    for piece in pieces:
        out = memoryview(bytearray(len(piece) + 16))
        output += out[: stream.update_into(memoryview(piece), out)]
    return output + stream.finalize()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


@pytest.mark.parametrize(("algorithm", "iv", "ciphertext"), KNOWN_ANSWERS)
def test_known_answers_of_sp_800_38a_match(algorithm: EncryptionAlgorithm, iv: bytes, ciphertext: str) -> None:
    expected = bytes.fromhex(ciphertext)
    ciphertext_bytes = run(cipher_for(algorithm).encryptor(iv), [PLAINTEXT])
    assert ciphertext_bytes[: len(expected)] == expected
    assert len(ciphertext_bytes) == encrypted_length(algorithm, len(PLAINTEXT))
    assert run(cipher_for(algorithm).decryptor(iv), [ciphertext_bytes]) == PLAINTEXT


@given(
    algorithm=st.sampled_from(EncryptionAlgorithm),
    data=st.binary(max_size=100),
    cuts=st.lists(st.integers(0, 120), max_size=8),
)
def test_arbitrary_chunks_round_trip(algorithm: EncryptionAlgorithm, data: bytes, cuts: list[int]) -> None:
    cipher, iv = cipher_for(algorithm), iv_for(algorithm)
    encrypted = run(cipher.encryptor(iv), split(data, cuts))
    assert len(encrypted) == encrypted_length(algorithm, len(data))
    decrypted = run(cipher.decryptor(iv), split(encrypted, cuts))
    padding = bytes(-len(data) % 16) if CIPHERS[algorithm].padding is Padding.ZERO else b""
    assert decrypted == data + padding


@given(
    block=st.binary(min_size=16, max_size=16).filter(
        lambda block: not 1 <= block[-1] <= 16 or block[-block[-1] :] != bytes([block[-1]]) * block[-1]
    )
)
def test_wrong_padding_is_rejected(block: bytes) -> None:
    key, iv = KEYS[32], CBC_IV
    encrypted = run(AesCipher(EncryptionAlgorithm.AES256_CBC_ZERO_BYTE_PAD, key).encryptor(iv), [block])
    decryptor = AesCipher(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, key).decryptor(iv)
    with pytest.raises(ContainerError):
        run(decryptor, [encrypted])


@pytest.mark.parametrize("algorithm", [each for each in EncryptionAlgorithm if CIPHERS[each].block_multiple > 1])
@pytest.mark.parametrize("length", [1, 15, 17, 33])
def test_incomplete_last_block_is_rejected(algorithm: EncryptionAlgorithm, length: int) -> None:
    with pytest.raises(ContainerError):
        run(cipher_for(algorithm).decryptor(iv_for(algorithm)), [bytes(length)])


def test_pkcs7_of_no_bytes_is_rejected() -> None:
    with pytest.raises(ContainerError):
        run(cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD).decryptor(CBC_IV), [])


@pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
@pytest.mark.parametrize("length", [0, 15, 16, 24, 31, 32, 33])
def test_wrong_key_length_is_rejected(algorithm: EncryptionAlgorithm, length: int) -> None:
    if length == SYMMETRIC_KEY_LENGTHS[CIPHERS[algorithm].key_kind]:
        assert AesCipher(algorithm, bytes(length)).algorithm is algorithm
        return
    with pytest.raises(InvalidKeyError):
        AesCipher(algorithm, bytes(length))


@pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
@pytest.mark.parametrize("length", [0, 8, 15, 16, 17])
def test_wrong_iv_length_is_rejected(algorithm: EncryptionAlgorithm, length: int) -> None:
    cipher = cipher_for(algorithm)
    if length == CIPHERS[algorithm].iv_length:
        cipher.encryptor(bytes(length))
        return
    for direction in (cipher.encryptor, cipher.decryptor):
        with pytest.raises(ContainerError):
            direction(bytes(length))


def test_repr_hides_the_key() -> None:
    text = repr(AesCipher(EncryptionAlgorithm.AES128_CTR_NO_PAD, b"0123456789abcdef"))
    assert "0123" not in text
    assert "AES128_CTR_NO_PAD" in text
