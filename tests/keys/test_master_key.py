"""The master key, from either place."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null
from keyring.errors import KeyringLocked

from sealyard.keys import file_keyring
from sealyard.keys import master_key as master
from sealyard.keys.file_keyring import Argon2Params
from sealyard.keys.master_key import open_master_key, os_keyring_available
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError, UsageError

WORKSPACE = "5a0f"
PASSPHRASE = "a canary among passphrases"


class MemoryKeyring(KeyringBackend):
    """Stands for the keyring of an operating system."""

    priority = 1

    def __init__(self) -> None:
        self.passwords: dict[tuple[str, str], str] = {}
        self.trouble: Exception | None = None
        self.hang: threading.Event | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.hang:
            self.hang.wait()
        if self.trouble:
            raise self.trouble
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.passwords[service, username] = password


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", Argon2Params(iterations=1, lanes=1, memory_kib=8))


@pytest.fixture
def restored() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, restored: None) -> MemoryKeyring:
    monkeypatch.setattr(master, "TRUSTED_BACKENDS", {MemoryKeyring.__module__})
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    return backend


@pytest.mark.parametrize("kind", ["passphrase", "os-keyring"])
def test_a_master_key_is_made_once_and_found_again(kind: str, tmp_path: Path, memory: MemoryKeyring) -> None:
    made = open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=True)
    assert len(made) == 32
    assert open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=False) == made
    assert open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=True) == made


@pytest.mark.parametrize("kind", ["passphrase", "os-keyring"])
def test_each_workspace_has_its_own(kind: str, tmp_path: Path, memory: MemoryKeyring) -> None:
    keys = {open_master_key(kind, tmp_path, workspace, PASSPHRASE, create=True) for workspace in ("one", "two")}
    assert len(keys) == 2


@pytest.mark.parametrize("kind", ["passphrase", "os-keyring"])
def test_without_create_none_is_made(kind: str, tmp_path: Path, memory: MemoryKeyring) -> None:
    with pytest.raises(KeyStoreLockedError, match="not in the key store"):
        open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=False)
    assert not memory.passwords
    assert not list(tmp_path.iterdir())


def test_a_wrong_passphrase_is_refused(tmp_path: Path) -> None:
    open_master_key("passphrase", tmp_path, WORKSPACE, PASSPHRASE, create=True)
    for create in (False, True):
        with pytest.raises(KeyStoreLockedError, match="Wrong passphrase"):
            open_master_key("passphrase", tmp_path, WORKSPACE, "another", create)


@pytest.mark.parametrize("passphrase", [None, ""])
def test_no_passphrase_is_refused(tmp_path: Path, passphrase: str | None) -> None:
    with pytest.raises(KeyStoreLockedError, match="requires its passphrase"):
        open_master_key("passphrase", tmp_path, WORKSPACE, passphrase, create=True)


def test_the_passphrase_file_holds_no_key_in_the_clear(tmp_path: Path) -> None:
    made = open_master_key("passphrase", tmp_path, WORKSPACE, PASSPHRASE, create=True)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (made, made.hex().encode(), base64.b64encode(made), PASSPHRASE.encode()):
        assert secret not in files


def test_the_os_keyring_touches_no_file(tmp_path: Path, memory: MemoryKeyring) -> None:
    open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)
    assert not list(tmp_path.iterdir())
    assert list(memory.passwords) == [("sealyard", f"workspace {WORKSPACE}")]


@pytest.mark.parametrize("kept", ["", "not base64!", base64.b64encode(bytes(31)).decode(), "ä"])
def test_what_is_no_master_key_is_damage(tmp_path: Path, memory: MemoryKeyring, kept: str) -> None:
    memory.passwords["sealyard", f"workspace {WORKSPACE}"] = kept
    with pytest.raises(KeyStoreCorruptedError):
        open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)


def test_a_keyring_that_hangs_is_given_up(
    tmp_path: Path, memory: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master, "_KEYRING_TIMEOUT", 0.05)
    memory.hang = threading.Event()
    try:
        with pytest.raises(KeyStoreLockedError, match="did not respond"):
            open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=False)
    finally:
        memory.hang.set()


def test_a_keyring_that_refuses_is_locked_and_its_words_are_kept_back(tmp_path: Path, memory: MemoryKeyring) -> None:
    memory.trouble = KeyringLocked("canary")
    with pytest.raises(KeyStoreLockedError, match="KeyringLocked") as caught:
        open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=False)
    assert "canary" not in repr([caught.value, caught.value.__cause__, caught.value.__context__])


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring, MemoryKeyring])
def test_a_keyring_that_keeps_no_secrets_is_never_used(
    tmp_path: Path, restored: None, backend: type[KeyringBackend]
) -> None:
    keyring.set_keyring(backend())
    assert not os_keyring_available()
    with pytest.raises(KeyStoreLockedError, match="No OS keyring"):
        open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)


def test_only_the_trusted_one_of_a_chain_is_used(
    tmp_path: Path, memory: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chainer.ChainerBackend, "backends", [null.Keyring(), memory])
    keyring.set_keyring(chainer.ChainerBackend())
    assert os_keyring_available()
    open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)
    assert memory.passwords


def test_a_trusted_keyring_is_available(memory: MemoryKeyring) -> None:
    assert os_keyring_available()
    assert not memory.passwords


def test_a_key_store_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="os-keyring or passphrase"):
        open_master_key("plain", tmp_path, WORKSPACE, PASSPHRASE, create=True)
