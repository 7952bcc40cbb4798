"""Segments: sealed in pieces, opened to the same bytes, never more than was promised."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

import pytest

from sealyard.crypto.algorithms import CIPHERS, SYMMETRIC_KEY_LENGTHS, Padding, encrypted_length
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.pipeline import CHUNK
from sealyard.crypto.segments import decrypt_segment, encrypt_segment, read_segment
from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.errors import ContainerError, InvalidInputError, StorageError

ODD_SIZES = (1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5)


def cipher_for(algorithm: EncryptionAlgorithm) -> AesCipher:
    return AesCipher(algorithm, bytes(SYMMETRIC_KEY_LENGTHS[CIPHERS[algorithm].key_kind]))


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def nothing(_: int) -> None:
    return None


@pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
@pytest.mark.parametrize("size", ODD_SIZES)
def test_what_was_sealed_is_opened(algorithm: EncryptionAlgorithm, size: int) -> None:
    cipher, data = cipher_for(algorithm), content(size)
    told: list[int] = []
    target = io.BytesIO(b"before")
    target.seek(6)
    length, sha256, plaintext_sha256 = encrypt_segment(io.BytesIO(data), size, target, cipher, told.append)
    segment = target.getvalue()[6:]
    assert length == len(segment) == encrypted_length(algorithm, size) + CIPHERS[algorithm].iv_length
    assert sha256 == hashlib.sha256(segment).hexdigest()
    assert plaintext_sha256 == hashlib.sha256(data).hexdigest()
    assert sum(told) == size

    opened, witness, told = bytearray(), hashlib.sha256(), []
    target.seek(6)
    decrypt_segment(target, length, cipher, opened.extend, [witness.update], told.append)
    kept_padding = bytes(-size % 16) if CIPHERS[algorithm].padding is Padding.ZERO else b""
    assert opened == data + kept_padding
    assert witness.hexdigest() == sha256
    assert sum(told) == length
    assert target.tell() == 6 + length


def test_every_seal_has_a_fresh_iv() -> None:
    cipher = cipher_for(EncryptionAlgorithm.AES128_CTR_NO_PAD)
    ivs = set()
    for _ in range(20):
        target = io.BytesIO()
        encrypt_segment(io.BytesIO(b"x"), 1, target, cipher, nothing)
        ivs.add(target.getvalue()[-16:])
    assert len(ivs) == 20


@pytest.mark.parametrize("size", [9, 11])
def test_a_file_that_changed_its_size_is_refused(size: int) -> None:
    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    with pytest.raises(InvalidInputError):
        encrypt_segment(io.BytesIO(bytes(size)), 10, io.BytesIO(), cipher, nothing)


def test_stopping_by_progress_ends_the_threads() -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    with pytest.raises(KeyboardInterrupt):
        encrypt_segment(io.BytesIO(bytes(10)), 10, io.BytesIO(), cipher, stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pump")]


def test_a_full_disk_ends_the_sealing() -> None:
    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError):
        encrypt_segment(io.BytesIO(bytes(3 * CHUNK)), 3 * CHUNK, full, cipher, nothing)


def test_witnesses_see_the_whole_segment_before_padding_is_judged() -> None:
    cipher = cipher_for(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    seen = bytearray()
    with pytest.raises(ContainerError):
        decrypt_segment(io.BytesIO(bytes(64)), 64, cipher, lambda _: None, [seen.extend], nothing)
    assert seen == bytes(64)


def test_reading_shows_the_segment_and_nothing_behind() -> None:
    source, seen = io.BytesIO(b"0123456789"), bytearray()
    source.seek(2)
    read_segment(source, 5, [seen.extend], nothing)
    assert seen == b"23456"
