"""Secrets that must be read again, sealed under a key of the workspace."""

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


def test_what_was_sealed_is_opened_by_who_has_the_key(key_file: Path) -> None:
    sealed = SecretBox(key_file).encrypt(SECRET, "webhook a")
    assert SecretBox(key_file).decrypt(sealed, "webhook a") == SECRET


def test_the_sealed_text_tells_nothing_and_is_another_each_time(key_file: Path) -> None:
    box = SecretBox(key_file)
    first, second = box.encrypt(SECRET, "webhook a"), box.encrypt(SECRET, "webhook a")
    assert first != second
    assert SECRET not in base64.b64decode(first)


def test_a_secret_does_not_open_in_another_place(key_file: Path) -> None:
    box = SecretBox(key_file)
    with pytest.raises(KeyStoreCorruptedError):
        box.decrypt(box.encrypt(SECRET, "webhook a"), "webhook b")


@pytest.mark.parametrize("sealed", ["", "AAAA", "no Base64", "é"])
def test_what_was_never_sealed_is_refused(key_file: Path, sealed: str) -> None:
    box = SecretBox(key_file)
    box.encrypt(SECRET, "webhook a")
    with pytest.raises(KeyStoreCorruptedError):
        box.decrypt(sealed, "webhook a")


def test_every_changed_byte_is_noticed(key_file: Path) -> None:
    box = SecretBox(key_file)
    sealed = base64.b64decode(box.encrypt(SECRET, "webhook a"))
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(KeyStoreCorruptedError):
            box.decrypt(base64.b64encode(changed).decode(), "webhook a")


def test_another_workspaces_key_opens_nothing(key_file: Path, tmp_path: Path) -> None:
    other = SecretBox(tmp_path / "other")
    other.encrypt(b"something", "webhook a")
    with pytest.raises(KeyStoreCorruptedError):
        other.decrypt(SecretBox(key_file).encrypt(SECRET, "webhook a"), "webhook a")


def test_the_key_is_random_and_for_the_owner_alone(key_file: Path, tmp_path: Path) -> None:
    SecretBox(key_file).encrypt(SECRET, "webhook a")
    SecretBox(tmp_path / "other").encrypt(SECRET, "webhook a")
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert len(key_file.read_bytes()) == 32
    assert key_file.read_bytes() != (tmp_path / "other").read_bytes()


def test_looking_makes_no_key(key_file: Path) -> None:
    with pytest.raises(KeyStoreCorruptedError):
        SecretBox(key_file).decrypt("AAAA", "webhook a")
    assert not key_file.exists()


def test_a_key_that_was_cut_is_no_key(key_file: Path) -> None:
    box = SecretBox(key_file)
    sealed = box.encrypt(SECRET, "webhook a")
    key_file.write_bytes(key_file.read_bytes()[:16])
    for use in (lambda: box.decrypt(sealed, "webhook a"), lambda: box.encrypt(SECRET, "webhook a")):
        with pytest.raises(KeyStoreCorruptedError):
            use()


def test_a_key_that_cannot_be_written_seals_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SecretBox(tmp_path / "nowhere" / "secrets").encrypt(SECRET, "webhook a")
