"""Test server addresses, and the storage of server tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from sealyard.client import log
from sealyard.client.config.profiles import Profile
from sealyard.client.config.server_tokens import delete_token, load_token, save_token, tokens_file
from sealyard.client.config.servers import is_secure_url, parse_server_url
from sealyard.client.http.connect import connect_to_server
from sealyard.keys import file_keyring
from sealyard.keys import master_key as master
from sealyard.model.errors import AuthenticationError, KeyStoreLockedError, UsageError
from tests.support.factories.key_stores import FakeKeyring
from tests.support.key_holders import LOW_COST

TOKEN = "sy_0123abcd_a-canary-among-tokens"
PASSPHRASE = {"SEALYARD_PASSPHRASE": "a canary among passphrases"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("seal.example", "https://seal.example"),
        ("seal.example:8443", "https://seal.example:8443"),
        ("https://seal.example/", "https://seal.example"),
        ("https://seal.example/behind/a/proxy/", "https://seal.example/behind/a/proxy"),
        ("https://seal.example/api/v1", "https://seal.example"),
        ("http://localhost:8750", "http://localhost:8750"),
        ("http://127.9.9.9:8750", "http://127.9.9.9:8750"),
        ("http://[::1]:8750", "http://[::1]:8750"),
    ],
)
def test_server_url_is_normalized(url: str, expected: str) -> None:
    assert parse_server_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://seal.example",
        "http://10.0.0.1:8750",
        "http://0.0.0.0:8750",
        "http://localhost.seal.example",
        "http://localhost@seal.example",
        "http://127.0.0.1@seal.example",
    ],
)
def test_remote_plain_http_is_rejected(url: str) -> None:
    with pytest.raises(UsageError):
        parse_server_url(url)
    profile = Profile(name="a", identity="USER:dev", server=url)
    with pytest.raises(UsageError):
        connect_to_server(profile, TOKEN)


@pytest.mark.parametrize(
    "url",
    ["", "https://", "ftp://seal.example", "https://anna:pw@seal.example", "https://a?b", "https://a#b", "https://a:x"],
)
def test_invalid_server_url_is_rejected(url: str) -> None:
    with pytest.raises(UsageError, match="Invalid server address"):
        parse_server_url(url)


# ---- tokens


class MemoryKeyring(FakeKeyring, KeyringBackend):
    """Test double of the keyring of an operating system."""

    priority = 1


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", LOW_COST)


@pytest.fixture
def os_keyring(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    monkeypatch.setattr(master, "TRUSTED_BACKENDS", {MemoryKeyring.__module__})
    memory = MemoryKeyring()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


def _build_profile(**more: str) -> Profile:
    return Profile(**{"name": "seal", "identity": "USER:dev", "server": "https://seal.example", **more})


def test_os_keyring_stores_token(os_keyring: MemoryKeyring) -> None:
    save_token(_build_profile(), TOKEN, {}, None)
    assert load_token(_build_profile(), {}, None) == TOKEN
    assert not tokens_file().exists()
    delete_token(_build_profile(), {}, None)
    delete_token(_build_profile(), {}, None)
    assert os_keyring.passwords == {}


def test_token_file_requires_passphrase() -> None:
    save_token(_build_profile(), TOKEN, PASSPHRASE, None)
    assert load_token(_build_profile(), PASSPHRASE, None) == TOKEN
    assert TOKEN.encode() not in tokens_file().read_bytes()
    assert tokens_file().stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyStoreLockedError, match="Wrong passphrase"):
        load_token(_build_profile(), {"SEALYARD_PASSPHRASE": "another"}, None)
    with pytest.raises(KeyStoreLockedError, match="requires its passphrase"):
        load_token(_build_profile(), {}, None)
    assert load_token(_build_profile(), {}, lambda: "a canary among passphrases") == TOKEN
    delete_token(_build_profile(), PASSPHRASE, None)
    with pytest.raises(AuthenticationError, match=r"seal\.example"):
        load_token(_build_profile(), PASSPHRASE, None)


def test_save_token_without_passphrase_writes_nothing() -> None:
    with pytest.raises(KeyStoreLockedError):
        save_token(_build_profile(), TOKEN, {}, None)
    assert not tokens_file().exists()


def test_environment_token_takes_precedence(os_keyring: MemoryKeyring) -> None:
    save_token(_build_profile(), TOKEN, {}, None)
    assert load_token(_build_profile(), {"SEALYARD_TOKEN": "sy_another_one"}, None) == "sy_another_one"


@pytest.mark.parametrize(
    "other", [{"server": "https://other.example"}, {"tenant": "factory-7"}, {"identity": "USER:owner"}]
)
def test_token_is_bound_to_server_and_identity(os_keyring: MemoryKeyring, other: dict[str, str]) -> None:
    save_token(_build_profile(), TOKEN, {}, None)
    assert load_token(_build_profile(name="renamed"), {}, None) == TOKEN
    with pytest.raises(AuthenticationError):
        load_token(_build_profile(**other), {}, None)


def test_loaded_token_is_redacted_in_log() -> None:
    load_token(_build_profile(), {"SEALYARD_TOKEN": TOKEN}, None)
    assert TOKEN not in log.redact(f"a call with {TOKEN} failed")


@pytest.mark.parametrize("url", ["http://[", "http://", "https://", "http://10.0.0.1", "http://localhost.example"])
def test_insecure_url_is_not_secure(url: str) -> None:
    assert not is_secure_url(url)
