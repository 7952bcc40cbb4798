"""The keyring in a file."""

from __future__ import annotations

from pathlib import Path

import keyring.backend
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyring.errors import PasswordDeleteError

from sealyard.keys import file_keyring
from sealyard.keys.file_keyring import Argon2Params, EncryptedFileKeyring
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError

CHEAP = Argon2Params(iterations=1, lanes=1, memory_kib=8)
PASSPHRASE = "a canary among passphrases"
SECRET = "a canary among secrets"


def keyring_at(path: Path, passphrase: str = PASSPHRASE) -> EncryptedFileKeyring:
    return EncryptedFileKeyring(path, passphrase, CHEAP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "keyring.json"
    keyring_at(path).set_password("service", "user", SECRET)
    return path


def test_a_password_comes_back(path: Path) -> None:
    assert keyring_at(path).get_password("service", "user") == SECRET


def test_what_was_not_set_is_none(path: Path, tmp_path: Path) -> None:
    assert keyring_at(path).get_password("service", "another") is None
    assert keyring_at(path).get_password("another", "user") is None
    assert keyring_at(tmp_path / "nothing.json").get_password("service", "user") is None


def test_several_passwords_live_in_one_file(path: Path) -> None:
    keyring_at(path).set_password("service", "another", "second")
    keyring_at(path).set_password("service", "user", "first again")
    assert keyring_at(path).get_password("service", "another") == "second"
    assert keyring_at(path).get_password("service", "user") == "first again"


def test_a_deleted_password_is_gone(path: Path) -> None:
    keyring_at(path).delete_password("service", "user")
    assert keyring_at(path).get_password("service", "user") is None
    with pytest.raises(PasswordDeleteError):
        keyring_at(path).delete_password("service", "user")


@pytest.mark.parametrize("wrong", ["", "A canary among passphrases", PASSPHRASE + " "])
def test_a_wrong_passphrase_opens_nothing_and_changes_nothing(path: Path, wrong: str) -> None:
    before = path.read_bytes()
    with pytest.raises(KeyStoreLockedError, match="passphrase"):
        keyring_at(path, wrong).get_password("service", "user")
    with pytest.raises(KeyStoreLockedError, match="passphrase"):
        keyring_at(path, wrong).set_password("service", "user", "other")
    assert path.read_bytes() == before


def test_a_passphrase_is_the_same_however_its_letters_are_composed(tmp_path: Path) -> None:
    keyring_at(tmp_path / "k", "gr\u00fcn").set_password("service", "user", SECRET)
    assert keyring_at(tmp_path / "k", "gru\u0308n").get_password("service", "user") == SECRET


def test_a_flipped_bit_anywhere_is_damage(path: Path) -> None:
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(KeyStoreCorruptedError, match=r"keyring\.json"):
            keyring_at(path).get_password("service", "user")


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_other_file_is_damage(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "keyring.json"
    path.write_bytes(data)
    with pytest.raises(KeyStoreCorruptedError):
        keyring_at(path).get_password("service", "user")


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
def test_a_cost_that_no_machine_bears_is_damage(path: Path, cost: Argon2Params) -> None:
    sealed = msgspec.json.decode(path.read_bytes(), type=file_keyring._EncryptedFile)
    sealed = msgspec.structs.replace(sealed, cost=cost)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(sealed, sha256=sealed.checksum())))
    with pytest.raises(KeyStoreCorruptedError):
        keyring_at(path).get_password("service", "user")


def test_nothing_is_in_the_clear(path: Path) -> None:
    text = path.read_bytes()
    for secret in (PASSPHRASE, SECRET, "service", "user"):
        assert secret.encode() not in text


def test_salt_and_nonce_are_new_each_time(path: Path) -> None:
    first = msgspec.json.decode(path.read_bytes())
    keyring_at(path).set_password("service", "user", SECRET)
    second = msgspec.json.decode(path.read_bytes())
    assert first["salt"] != second["salt"]
    assert first["nonce"] != second["nonce"]


def test_the_file_is_the_owners_alone(path: Path) -> None:
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_passphrase_is_in_no_text(path: Path) -> None:
    found = keyring_at(path)
    assert PASSPHRASE not in repr(found) + str(found)
    with pytest.raises(KeyStoreLockedError) as caught:
        keyring_at(path, "a wrong canary").get_password("service", "user")
    assert "canary" not in repr([caught.value, caught.value.__cause__, caught.value.__context__, str(caught.value)])


def test_the_keyring_package_never_chooses_it_by_itself() -> None:
    assert not [each for each in keyring.backend.get_all_keyring() if isinstance(each, EncryptedFileKeyring)]


def test_the_environment_cannot_change_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYRING_PROPERTY__PATH", "/nowhere")
    assert keyring_at(path).get_password("service", "user") == SECRET
