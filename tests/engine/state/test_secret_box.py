"""Tests of the encryption of secrets with a key of the workspace."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from sealyard.engine.state.secret_box import SecretBox
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError

SECRET = b"correct horse battery staple"


KEY, OTHER_KEY = bytes(32), b"\1" * 32


def test_decrypt_returns_encrypted_secret() -> None:
    ciphertext = SecretBox(KEY).encrypt(SECRET, "webhook a")
    assert SecretBox(KEY).decrypt(ciphertext, "webhook a") == SECRET


def test_ciphertext_differs_each_time() -> None:
    box = SecretBox(KEY)
    first, second = box.encrypt(SECRET, "webhook a"), box.encrypt(SECRET, "webhook a")
    assert first != second
    assert SECRET not in base64.b64decode(first)


def test_decrypt_with_other_context_raises() -> None:
    box = SecretBox(KEY)
    with pytest.raises(KeyStoreCorruptedError):
        box.decrypt(box.encrypt(SECRET, "webhook a"), "webhook b")


@pytest.mark.parametrize("ciphertext", ["", "AAAA", "no Base64", "é"])
def test_decrypt_of_invalid_text_raises(ciphertext: str) -> None:
    box = SecretBox(KEY)
    box.encrypt(SECRET, "webhook a")
    with pytest.raises(KeyStoreCorruptedError):
        box.decrypt(ciphertext, "webhook a")


def test_decrypt_of_changed_byte_raises() -> None:
    box = SecretBox(KEY)
    ciphertext = base64.b64decode(box.encrypt(SECRET, "webhook a"))
    for position in range(len(ciphertext)):
        changed_ciphertext = bytearray(ciphertext)
        changed_ciphertext[position] ^= 1
        with pytest.raises(KeyStoreCorruptedError):
            box.decrypt(base64.b64encode(changed_ciphertext).decode(), "webhook a")


def test_decrypt_with_other_key_raises() -> None:
    other_box = SecretBox(OTHER_KEY)
    other_box.encrypt(b"something", "webhook a")
    with pytest.raises(KeyStoreCorruptedError):
        other_box.decrypt(SecretBox(KEY).encrypt(SECRET, "webhook a"), "webhook a")


@pytest.mark.parametrize("call", [lambda box: box.encrypt(SECRET, "a"), lambda box: box.decrypt("AAAA", "a")])
def test_call_without_key_raises(call: Callable[[SecretBox], object]) -> None:
    with pytest.raises(KeyStoreLockedError):
        call(SecretBox(None))
