"""Test logging in to a server and out of it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, workspace_profiles, write_profiles
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.keys import file_keyring
from tests.support.cli_runner import sealyard, value_of
from tests.support.key_holders import LOW_COST
from tests.support.scripted_server import INFO, Exchange, ScriptedServer

TOKEN = "sy_0123abcd_a-canary-among-tokens"


async def _handler(exchange: Exchange) -> None:
    if exchange.headers.get("authorization") != f"Bearer {TOKEN}":
        await exchange.refuse(401, "unauthenticated", "The token is not valid here.")
    elif exchange.path == "/workspace":
        await exchange.answer(INFO)
    elif exchange.path == "/acl/names":
        await exchange.answer({})
    else:
        await exchange.answer([])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", LOW_COST)
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    thread = LoopThread("scripted-server")
    scripted_server = ScriptedServer(_handler)
    asyncio.run(thread.call(scripted_server.start()))
    yield scripted_server
    thread.stop()


@pytest.fixture
def token_on_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))


@pytest.mark.usefixtures("token_on_stdin")
def test_login_sets_default_profile(server: ScriptedServer) -> None:
    profile = value_of("login", server.url, "--tenant", "factory-7", "--name", "seal")
    assert (profile["identity"], profile["server"], profile["tenant"]) == (INFO.subject, server.url, "factory-7")
    assert value_of("tasks") == []
    assert server.exchanges[-1].headers["x-se-tenant"] == "factory-7"
    listed = value_of("profile", "list")
    assert [(each["name"], each["server"], each["current"]) for each in listed] == [("seal", server.url, True)]
    assert server.url in sealyard("profile", "list").out


@pytest.mark.usefixtures("token_on_stdin")
def test_logout_removes_token_and_profile(server: ScriptedServer) -> None:
    assert value_of("login", server.url)["name"] == "127.0.0.1"
    value_of("logout")
    assert value_of("profile", "list") == []
    assert sealyard("tasks").code == 4
    assert sealyard("logout").code == 4


def test_rejected_token_is_not_saved(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sy_wrong\n"))
    result = sealyard("login", server.url)
    assert result.code == 3
    assert "not valid" in result.err
    assert value_of("profile", "list") == []


@pytest.mark.parametrize("line", ["", "\n", "two words\n", "ünsinn\n", "a\x1bb\n"])
def test_malformed_token_is_not_sent(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    result = sealyard("login", server.url)
    assert result.code == 2
    assert server.calls == []


def test_remote_plain_http_is_rejected_before_prompt() -> None:
    result = sealyard("login", "http://seal.example")
    assert result.code == 2
    assert "not encrypted" in result.err


def test_environment_token_requires_no_passphrase(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", TOKEN)
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    result = sealyard("login", server.url)
    assert result.code == 0, result
    assert "keep SEALYARD_TOKEN set" in result.err
    assert value_of("tasks") == []
    monkeypatch.delenv("SEALYARD_TOKEN")
    assert sealyard("tasks").code == 3


@pytest.mark.usefixtures("token_on_stdin")
def test_login_never_exposes_token(server: ScriptedServer, home: Path) -> None:
    result = sealyard("login", server.url, "--json")
    assert TOKEN not in result.out + result.err
    assert not any(TOKEN.encode() in each.read_bytes() for each in home.rglob("*") if each.is_file())


@pytest.mark.usefixtures("token_on_stdin")
def test_local_command_is_rejected_on_server(server: ScriptedServer) -> None:
    value_of("login", server.url)
    result = sealyard("run")
    assert result.code == 2
    assert "Not available on a server" in result.err


def test_workspace_profile_ignores_server_fields(server: ScriptedServer, tmp_path: Path) -> None:
    profile_with_server = Profile(
        name="other", identity="USER:dev", server=server.url, tenant="factory", ca="/tmp/authority.pem"
    )
    write_profiles(tmp_path / "profiles.json", ProfileFile(profiles=(profile_with_server,)))
    (profile,) = workspace_profiles(tmp_path).profiles
    assert (profile.server, profile.tenant, profile.ca) == ("", "", "")
    assert profile.location == str(tmp_path)


def test_unreachable_server_exits_with_10(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", TOKEN)
    monkeypatch.setattr("sealyard.cli.commands.login.TIMEOUT", 0.1)
    assert sealyard("login", "http://127.0.0.1:1").code == 10
