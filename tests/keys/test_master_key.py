"""Tests of the master key in the OS keyring and in the passphrase file."""

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
from sealyard.keys import master_key as master_key_module
from sealyard.keys.master_key import open_master_key, os_keyring_available
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError, UsageError
from tests.support.key_holders import LOW_COST

WORKSPACE = "5a0f"
PASSPHRASE = "a canary among passphrases"


class MemoryKeyring(KeyringBackend):
    """In-memory replacement for the keyring of an operating system."""

    priority = 1

    def __init__(self) -> None:
        self.passwords: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None
        self.release: threading.Event | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.release:
            self.release.wait()
        if self.error:
            raise self.error
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.passwords[service, username] = password


@pytest.fixture(autouse=True)
def low_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", LOW_COST)


@pytest.fixture
def restore_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


@pytest.fixture
def os_keyring(monkeypatch: pytest.MonkeyPatch, restore_keyring: None) -> MemoryKeyring:
    monkeypatch.setattr(master_key_module, "TRUSTED_BACKENDS", {MemoryKeyring.__module__})
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    return backend


@pytest.mark.parametrize("kind", ["passphrase", "os-keyring"])
def test_master_key_is_created_once(kind: str, tmp_path: Path, os_keyring: MemoryKeyring) -> None:
    key = open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=True)
    assert len(key) == 32
    assert open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=False) == key
    assert open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=True) == key


@pytest.mark.parametrize("kind", ["passphrase", "os-keyring"])
def test_workspaces_have_different_master_keys(kind: str, tmp_path: Path, os_keyring: MemoryKeyring) -> None:
    keys = {open_master_key(kind, tmp_path, workspace, PASSPHRASE, create=True) for workspace in ("one", "two")}
    assert len(keys) == 2


@pytest.mark.parametrize("kind", ["passphrase", "os-keyring"])
def test_missing_key_without_create_raises(kind: str, tmp_path: Path, os_keyring: MemoryKeyring) -> None:
    with pytest.raises(KeyStoreLockedError, match="not in the key store"):
        open_master_key(kind, tmp_path, WORKSPACE, PASSPHRASE, create=False)
    assert not os_keyring.passwords
    assert not list(tmp_path.iterdir())


def test_wrong_passphrase_is_rejected(tmp_path: Path) -> None:
    open_master_key("passphrase", tmp_path, WORKSPACE, PASSPHRASE, create=True)
    for create in (False, True):
        with pytest.raises(KeyStoreLockedError, match="Wrong passphrase"):
            open_master_key("passphrase", tmp_path, WORKSPACE, "another", create)


@pytest.mark.parametrize("passphrase", [None, ""])
def test_missing_passphrase_is_rejected(tmp_path: Path, passphrase: str | None) -> None:
    with pytest.raises(KeyStoreLockedError, match="requires its passphrase"):
        open_master_key("passphrase", tmp_path, WORKSPACE, passphrase, create=True)


def test_passphrase_file_contains_no_plaintext(tmp_path: Path) -> None:
    key = open_master_key("passphrase", tmp_path, WORKSPACE, PASSPHRASE, create=True)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (key, key.hex().encode(), base64.b64encode(key), PASSPHRASE.encode()):
        assert secret not in files


def test_os_keyring_writes_no_file(tmp_path: Path, os_keyring: MemoryKeyring) -> None:
    open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)
    assert not list(tmp_path.iterdir())
    assert list(os_keyring.passwords) == [("sealyard", f"workspace {WORKSPACE}")]


@pytest.mark.parametrize("password", ["", "not base64!", base64.b64encode(bytes(31)).decode(), "ä"])
def test_malformed_master_key_is_reported(tmp_path: Path, os_keyring: MemoryKeyring, password: str) -> None:
    os_keyring.passwords["sealyard", f"workspace {WORKSPACE}"] = password
    with pytest.raises(KeyStoreCorruptedError):
        open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)


def test_hanging_keyring_times_out(tmp_path: Path, os_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_key_module, "_KEYRING_TIMEOUT", 0.05)
    os_keyring.release = threading.Event()
    try:
        with pytest.raises(KeyStoreLockedError, match="did not respond"):
            open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=False)
    finally:
        os_keyring.release.set()


def test_locked_keyring_error_hides_its_message(tmp_path: Path, os_keyring: MemoryKeyring) -> None:
    os_keyring.error = KeyringLocked("canary")
    with pytest.raises(KeyStoreLockedError, match="KeyringLocked") as caught:
        open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=False)
    assert "canary" not in repr([caught.value, caught.value.__cause__, caught.value.__context__])


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring, MemoryKeyring])
def test_insecure_keyring_is_rejected(tmp_path: Path, restore_keyring: None, backend: type[KeyringBackend]) -> None:
    keyring.set_keyring(backend())
    assert not os_keyring_available()
    with pytest.raises(KeyStoreLockedError, match="No OS keyring"):
        open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)


def test_chained_keyring_uses_trusted_backend(
    tmp_path: Path, os_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chainer.ChainerBackend, "backends", [null.Keyring(), os_keyring])
    keyring.set_keyring(chainer.ChainerBackend())
    assert os_keyring_available()
    open_master_key("os-keyring", tmp_path, WORKSPACE, None, create=True)
    assert os_keyring.passwords


def test_trusted_keyring_is_available(os_keyring: MemoryKeyring) -> None:
    assert os_keyring_available()
    assert not os_keyring.passwords


def test_unknown_key_store_kind_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="os-keyring or passphrase"):
        open_master_key("plain", tmp_path, WORKSPACE, PASSPHRASE, create=True)
