"""Logging in to a server, and out again, by the command line."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, workspace_profiles, write_profiles
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.keys import file_keyring
from sealyard.keys.file_keyring import Argon2Params
from tests.support.cli_runner import sealyard, value_of
from tests.support.scripted_server import INFO, Exchange, ScriptedServer

TOKEN = "sy_0123abcd_a-canary-among-tokens"


async def _handler(exchange: Exchange) -> None:
    if exchange.headers.get("authorization") != f"Bearer {TOKEN}":
        await exchange.refuse(401, "unauthenticated", "The token is not valid here.")
    elif exchange.path == "/workspace":
        await exchange.answer(INFO)
    else:
        await exchange.answer([])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", Argon2Params(iterations=1, lanes=1, memory_kib=8))
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    thread = LoopThread("scripted-server")
    made = ScriptedServer(_handler)
    asyncio.run(thread.call(made.start()))
    yield made
    thread.stop()


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))


@pytest.mark.usefixtures("piped")
def test_whoever_logged_in_works_on_the_server_from_then_on(server: ScriptedServer) -> None:
    profile = value_of("login", server.url, "--tenant", "factory-7", "--name", "seal")
    assert (profile["identity"], profile["server"], profile["tenant"]) == (INFO.subject, server.url, "factory-7")
    assert value_of("tasks") == []
    assert server.exchanges[-1].headers["x-se-tenant"] == "factory-7"
    listed = value_of("profile", "list")
    assert [(each["name"], each["server"], each["current"]) for each in listed] == [("seal", server.url, True)]
    assert server.url in sealyard("profile", "list").out


@pytest.mark.usefixtures("piped")
def test_logging_out_forgets_the_token_and_the_profile(server: ScriptedServer) -> None:
    assert value_of("login", server.url)["name"] == "127.0.0.1"
    value_of("logout")
    assert value_of("profile", "list") == []
    assert sealyard("tasks").code == 4
    assert sealyard("logout").code == 4


def test_a_token_that_the_server_does_not_take_is_not_kept(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sy_wrong\n"))
    ran = sealyard("login", server.url)
    assert ran.code == 3
    assert "not valid" in ran.err
    assert value_of("profile", "list") == []


@pytest.mark.parametrize("said", ["", "\n", "two words\n", "ünsinn\n", "a\x1bb\n"])
def test_what_is_no_token_is_sent_nowhere(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    ran = sealyard("login", server.url)
    assert ran.code == 2
    assert server.calls == []


def test_plain_http_to_another_machine_is_refused_before_a_token_is_asked_for() -> None:
    ran = sealyard("login", "http://seal.example")
    assert ran.code == 2
    assert "not encrypted" in ran.err


def test_a_token_of_the_environment_needs_nothing_to_be_kept_in(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", TOKEN)
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    ran = sealyard("login", server.url)
    assert ran.code == 0, ran
    assert "keep SEALYARD_TOKEN set" in ran.err
    assert value_of("tasks") == []
    monkeypatch.delenv("SEALYARD_TOKEN")
    assert sealyard("tasks").code == 3


@pytest.mark.usefixtures("piped")
def test_no_token_is_printed_or_written_in_the_clear(server: ScriptedServer, home: Path) -> None:
    ran = sealyard("login", server.url, "--json")
    assert TOKEN not in ran.out + ran.err
    assert not any(TOKEN.encode() in each.read_bytes() for each in home.rglob("*") if each.is_file())


@pytest.mark.usefixtures("piped")
def test_what_works_on_this_machine_only_says_so(server: ScriptedServer) -> None:
    value_of("login", server.url)
    ran = sealyard("run")
    assert ran.code == 2
    assert "Not available on a server" in ran.err


def test_a_profile_of_a_workspace_leads_to_no_server(server: ScriptedServer, tmp_path: Path) -> None:
    bait = Profile(name="bait", identity="USER:dev", server=server.url, tenant="factory", ca="/tmp/authority.pem")
    write_profiles(tmp_path / "profiles.json", ProfileFile(profiles=(bait,)))
    (profile,) = workspace_profiles(tmp_path).profiles
    assert (profile.server, profile.tenant, profile.ca) == ("", "", "")
    assert profile.location == str(tmp_path)


def test_a_server_that_does_not_answer_has_an_exit_code_of_its_own(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", TOKEN)
    monkeypatch.setattr("sealyard.cli.commands.login.TIMEOUT", 0.1)
    assert sealyard("login", "http://127.0.0.1:1").code == 10
