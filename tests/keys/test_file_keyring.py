"""Tests of the encrypted keyring file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.keys import file_keyring
from sealyard.keys.file_keyring import Argon2Params, EncryptedFileKeyring
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError
from tests.support.key_holders import LOW_COST

PASSPHRASE = "a canary among passphrases"
SECRET = "a canary among secrets"


def open_keyring(path: Path, passphrase: str = PASSPHRASE) -> EncryptedFileKeyring:
    return EncryptedFileKeyring(path, passphrase, LOW_COST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "keyring.json"
    open_keyring(path).set_password("service", "user", SECRET)
    return path


def test_get_password_returns_stored_password(path: Path) -> None:
    assert open_keyring(path).get_password("service", "user") == SECRET


def test_get_password_of_unknown_user_is_none(path: Path, tmp_path: Path) -> None:
    assert open_keyring(path).get_password("service", "another") is None
    assert open_keyring(path).get_password("another", "user") is None
    assert open_keyring(tmp_path / "nothing.json").get_password("service", "user") is None


def test_file_holds_several_passwords(path: Path) -> None:
    open_keyring(path).set_password("service", "another", "second")
    open_keyring(path).set_password("service", "user", "first again")
    assert open_keyring(path).get_password("service", "another") == "second"
    assert open_keyring(path).get_password("service", "user") == "first again"


def test_deleted_password_is_none(path: Path) -> None:
    open_keyring(path).delete_password("service", "user")
    assert open_keyring(path).get_password("service", "user") is None


def test_delete_of_missing_password_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    open_keyring(path).delete_password("service", "another")
    assert path.read_bytes() == before


@pytest.mark.parametrize("wrong", ["", "A canary among passphrases", PASSPHRASE + " "])
def test_wrong_passphrase_is_rejected(path: Path, wrong: str) -> None:
    before = path.read_bytes()
    with pytest.raises(KeyStoreLockedError, match="passphrase"):
        open_keyring(path, wrong).get_password("service", "user")
    with pytest.raises(KeyStoreLockedError, match="passphrase"):
        open_keyring(path, wrong).set_password("service", "user", "other")
    assert path.read_bytes() == before


def test_passphrase_is_unicode_normalized(tmp_path: Path) -> None:
    open_keyring(tmp_path / "k", "gr\u00fcn").set_password("service", "user", SECRET)
    assert open_keyring(tmp_path / "k", "gru\u0308n").get_password("service", "user") == SECRET


def test_flipped_bit_is_reported_as_corruption(path: Path) -> None:
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(KeyStoreCorruptedError, match=r"keyring\.json"):
            open_keyring(path).get_password("service", "user")


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_arbitrary_file_is_reported_as_corruption(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "keyring.json"
    path.write_bytes(data)
    with pytest.raises(KeyStoreCorruptedError):
        open_keyring(path).get_password("service", "user")


@pytest.mark.parametrize(
    "cost",
    [
        Argon2Params(memory_kib=1 << 30),
        Argon2Params(iterations=10**9),
        Argon2Params(lanes=10**6),
        Argon2Params(memory_kib=0),
        Argon2Params(iterations=0),
        Argon2Params(lanes=-1),
        Argon2Params(memory_kib=1),
    ],
)
def test_excessive_cost_is_reported_as_corruption(path: Path, cost: Argon2Params) -> None:
    stored = msgspec.json.decode(path.read_bytes(), type=file_keyring._EncryptedFile)
    stored = msgspec.structs.replace(stored, cost=cost)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(stored, sha256=stored.checksum())))
    with pytest.raises(KeyStoreCorruptedError):
        open_keyring(path).get_password("service", "user")


def test_file_contains_no_plaintext(path: Path) -> None:
    text = path.read_bytes()
    for secret in (PASSPHRASE, SECRET, "service", "user"):
        assert secret.encode() not in text


def test_each_write_uses_new_nonce(path: Path) -> None:
    first = msgspec.json.decode(path.read_bytes())
    open_keyring(path).set_password("service", "user", SECRET)
    second = msgspec.json.decode(path.read_bytes())
    assert first["nonce"] != second["nonce"]


def test_each_file_has_its_own_salt(path: Path, tmp_path: Path) -> None:
    another = tmp_path / "another.json"
    open_keyring(another).set_password("service", "user", SECRET)
    assert msgspec.json.decode(path.read_bytes())["salt"] != msgspec.json.decode(another.read_bytes())["salt"]


def test_key_is_derived_once_per_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    salts: list[bytes] = []

    def record_salt(*, salt: bytes, **options: Any) -> Argon2id:
        salts.append(salt)
        return Argon2id(salt=salt, **options)

    monkeypatch.setattr(file_keyring, "Argon2id", record_salt)
    keyring_file = EncryptedFileKeyring(path, PASSPHRASE)
    keyring_file.set_password("service", "another", "second")
    keyring_file.delete_password("service", "another")
    assert keyring_file.get_password("service", "user") == SECRET
    stored = msgspec.json.decode(path.read_bytes(), type=file_keyring._EncryptedFile)
    assert (salts, stored.cost) == ([stored.salt], LOW_COST)


def test_file_is_private(path: Path) -> None:
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_repr_and_errors_hide_the_passphrase(path: Path) -> None:
    keyring_file = open_keyring(path)
    assert PASSPHRASE not in repr(keyring_file) + str(keyring_file)
    with pytest.raises(KeyStoreLockedError) as caught:
        open_keyring(path, "a wrong canary").get_password("service", "user")
    assert "canary" not in repr([caught.value, caught.value.__cause__, caught.value.__context__, str(caught.value)])
