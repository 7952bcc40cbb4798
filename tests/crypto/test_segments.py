"""Tests of encrypting, decrypting and reading segments."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

import pytest

from sealyard.crypto.algorithms import CIPHERS, SYMMETRIC_KEY_LENGTHS, Padding, encrypted_length
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.pipeline import CHUNK, no_progress
from sealyard.crypto.segments import create_iv, decrypt_segment, encrypt_segment, read_segment
from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.errors import ContainerError, InvalidInputError, StorageError

ODD_SIZES = (1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5)


def cipher_for(algorithm: EncryptionAlgorithm) -> AesCipher:
    return AesCipher(algorithm, bytes(SYMMETRIC_KEY_LENGTHS[CIPHERS[algorithm].key_kind]))


def iv_for(algorithm: EncryptionAlgorithm) -> bytes:
    return bytes(range(CIPHERS[algorithm].iv_length))


def make_content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
@pytest.mark.parametrize("size", ODD_SIZES)
def test_encrypted_segment_round_trips(algorithm: EncryptionAlgorithm, size: int) -> None:
    cipher, data = cipher_for(algorithm), make_content(size)
    steps: list[int] = []
    target = io.BytesIO(b"before")
    target.seek(6)
    length, sha256, plaintext_sha256 = encrypt_segment(
        io.BytesIO(data), size, target, cipher, iv_for(algorithm), steps.append
    )
    segment = target.getvalue()[6:]
    assert segment.endswith(iv_for(algorithm))
    assert length == len(segment) == encrypted_length(algorithm, size) + CIPHERS[algorithm].iv_length
    assert sha256 == hashlib.sha256(segment).hexdigest()
    assert plaintext_sha256 == hashlib.sha256(data).hexdigest()
    assert sum(steps) == size

    decrypted, segment_hash, steps = bytearray(), hashlib.sha256(), []
    target.seek(6)
    decrypt_segment(target, length, cipher, decrypted.extend, [segment_hash.update], steps.append)
    padding = bytes(-size % 16) if CIPHERS[algorithm].padding is Padding.ZERO else b""
    assert decrypted == data + padding
    assert segment_hash.hexdigest() == sha256
    assert sum(steps) == length
    assert target.tell() == 6 + length


@pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
def test_repeated_encryption_gives_same_bytes(algorithm: EncryptionAlgorithm) -> None:
    segments = set()
    for _ in range(2):
        target = io.BytesIO()
        encrypt_segment(io.BytesIO(make_content(99)), 99, target, cipher_for(algorithm), iv_for(algorithm), no_progress)
        segments.add(target.getvalue())
    assert len(segments) == 1


@pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
def test_created_iv_has_length_of_algorithm(algorithm: EncryptionAlgorithm) -> None:
    requests: list[tuple[str, int]] = []

    def random(name: str, length: int) -> bytes:
        requests.append((name, length))
        return bytes(length)

    length = 0 if "ECB" in algorithm else 16
    assert create_iv(algorithm, random, "segment 0 iv") == bytes(length)
    assert requests == [("segment 0 iv", length)]


@pytest.mark.parametrize("size", [9, 11])
def test_file_of_changed_size_is_rejected(size: int) -> None:
    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    with pytest.raises(InvalidInputError):
        encrypt_segment(io.BytesIO(bytes(size)), 10, io.BytesIO(), cipher, iv_for(cipher.algorithm), no_progress)


def test_cancelled_encryption_ends_the_threads() -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    with pytest.raises(KeyboardInterrupt):
        encrypt_segment(io.BytesIO(bytes(10)), 10, io.BytesIO(), cipher, iv_for(cipher.algorithm), stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pump")]


def test_full_disk_raises_storage_error() -> None:
    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError):
        encrypt_segment(io.BytesIO(bytes(3 * CHUNK)), 3 * CHUNK, full, cipher, iv_for(cipher.algorithm), no_progress)


def test_observers_receive_segment_before_padding_check() -> None:
    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    received = bytearray()
    with pytest.raises(ContainerError):
        decrypt_segment(io.BytesIO(bytes(64)), 64, cipher, lambda _: None, [received.extend], no_progress)
    assert received == bytes(64)


def test_read_segment_stops_at_its_end() -> None:
    source, received = io.BytesIO(b"0123456789"), bytearray()
    source.seek(2)
    read_segment(source, 5, [received.extend], no_progress)
    assert received == b"23456"
