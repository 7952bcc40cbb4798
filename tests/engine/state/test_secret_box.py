"""Tests of the encryption of secrets with a key of the workspace."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sealyard.engine.state.secret_box import SecretBox
from sealyard.model.errors import KeyStoreCorruptedError, StorageError

SECRET = b"correct horse battery staple"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def test_decrypt_returns_encrypted_secret(key_file: Path) -> None:
    ciphertext = SecretBox(key_file).encrypt(SECRET, "webhook a")
    assert SecretBox(key_file).decrypt(ciphertext, "webhook a") == SECRET


def test_ciphertext_differs_each_time(key_file: Path) -> None:
    box = SecretBox(key_file)
    first, second = box.encrypt(SECRET, "webhook a"), box.encrypt(SECRET, "webhook a")
    assert first != second
    assert SECRET not in base64.b64decode(first)


def test_decrypt_with_other_context_raises(key_file: Path) -> None:
    box = SecretBox(key_file)
    with pytest.raises(KeyStoreCorruptedError):
        box.decrypt(box.encrypt(SECRET, "webhook a"), "webhook b")


@pytest.mark.parametrize("ciphertext", ["", "AAAA", "no Base64", "é"])
def test_decrypt_of_invalid_text_raises(key_file: Path, ciphertext: str) -> None:
    box = SecretBox(key_file)
    box.encrypt(SECRET, "webhook a")
    with pytest.raises(KeyStoreCorruptedError):
        box.decrypt(ciphertext, "webhook a")


def test_decrypt_of_changed_byte_raises(key_file: Path) -> None:
    box = SecretBox(key_file)
    ciphertext = base64.b64decode(box.encrypt(SECRET, "webhook a"))
    for position in range(len(ciphertext)):
        changed_ciphertext = bytearray(ciphertext)
        changed_ciphertext[position] ^= 1
        with pytest.raises(KeyStoreCorruptedError):
            box.decrypt(base64.b64encode(changed_ciphertext).decode(), "webhook a")


def test_decrypt_with_other_key_raises(key_file: Path, tmp_path: Path) -> None:
    other_box = SecretBox(tmp_path / "other")
    other_box.encrypt(b"something", "webhook a")
    with pytest.raises(KeyStoreCorruptedError):
        other_box.decrypt(SecretBox(key_file).encrypt(SECRET, "webhook a"), "webhook a")


def test_key_is_random_and_private(key_file: Path, tmp_path: Path) -> None:
    SecretBox(key_file).encrypt(SECRET, "webhook a")
    SecretBox(tmp_path / "other").encrypt(SECRET, "webhook a")
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert len(key_file.read_bytes()) == 32
    assert key_file.read_bytes() != (tmp_path / "other").read_bytes()


def test_decrypt_creates_no_key(key_file: Path) -> None:
    with pytest.raises(KeyStoreCorruptedError):
        SecretBox(key_file).decrypt("AAAA", "webhook a")
    assert not key_file.exists()


def test_truncated_key_raises(key_file: Path) -> None:
    box = SecretBox(key_file)
    ciphertext = box.encrypt(SECRET, "webhook a")
    key_file.write_bytes(key_file.read_bytes()[:16])
    for call in (lambda: box.decrypt(ciphertext, "webhook a"), lambda: box.encrypt(SECRET, "webhook a")):
        with pytest.raises(KeyStoreCorruptedError):
            call()


def test_encrypt_without_key_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SecretBox(tmp_path / "nowhere" / "secrets").encrypt(SECRET, "webhook a")
