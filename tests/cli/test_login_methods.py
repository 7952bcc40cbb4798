"""Test how `sealyard login` chooses between a token and a login through an issuer."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealyard.cli.commands import login
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.keys import file_keyring
from sealyard.model.login import METADATA_PATH
from tests.support.cli_runner import sealyard, value_of
from tests.support.key_holders import LOW_COST
from tests.support.scripted_server import INFO, Exchange, ScriptedServer
from tests.support.tls_certificates import create_cert_pair

TOKEN = "sy_0123abcd_a-canary-among-tokens"
ONE, TWO = "https://one.example", "https://two.example/realm"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class LoginServer:
    """A server whose ``methods`` the test sets; None: it publishes no metadata."""

    def __init__(self) -> None:
        self.methods: list[dict[str, Any]] | None = []
        self.scripted = ScriptedServer(self._handle)

    @property
    def url(self) -> str:
        return self.scripted.url

    async def _handle(self, exchange: Exchange) -> None:
        if exchange.path != METADATA_PATH:
            await exchange.answer(INFO)
        elif self.methods is None:
            await exchange.refuse(404, "not-found")
        else:
            await exchange.answer({"resource": self.url, "sealyard_login": self.methods})

    def offer(self, *issuers: str) -> None:
        self.methods = [{"issuer": issuer, "client_id": "cli"} for issuer in issuers]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginServer]:
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", LOW_COST)
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    thread = LoopThread("login-server")
    server = LoginServer()
    asyncio.run(thread.call(server.scripted.start()))
    yield server
    thread.stop()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(login, "ask_passphrase", lambda _: TOKEN)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("methods", [None, []])
def test_server_without_issuer_asks_for_token(server: LoginServer, methods: list[dict[str, Any]] | None) -> None:
    server.methods = methods
    assert value_of("login", server.url)["identity"] == INFO.subject


@pytest.mark.usefixtures("terminal")
def test_token_option_asks_for_token(server: LoginServer) -> None:
    server.offer(ONE)
    assert value_of("login", server.url, "--token")["identity"] == INFO.subject
    assert METADATA_PATH not in {exchange.path for exchange in server.scripted.exchanges}


def test_piped_token_is_used_although_server_has_issuer(server: LoginServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.offer(ONE)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert value_of("login", server.url)["identity"] == INFO.subject


def test_environment_token_is_used_although_server_has_issuer(
    server: LoginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.offer(ONE)
    monkeypatch.setenv("SEALYARD_TOKEN", TOKEN)
    assert value_of("login", server.url)["identity"] == INFO.subject


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("issuers", "options", "message"),
    [
        ((), ("--device",), "no login through an issuer"),
        ((), ("--issuer", ONE), "no login through an issuer"),
        (("http://one.example",), ("--browser",), "no login through an issuer"),
        ((ONE, TWO), (), f"Choose one with --issuer: {ONE}, {TWO}"),
        ((ONE, TWO), ("--issuer", "https://three.example"), "no login through https://three.example"),
        ((ONE,), ("--device", "--token"), "not allowed with"),
    ],
)
def test_method_that_is_not_offered_is_a_usage_error(
    server: LoginServer, issuers: tuple[str, ...], options: tuple[str, ...], message: str
) -> None:
    server.offer(*issuers)
    result = sealyard("login", server.url, *options)
    assert result.code == 2
    assert message in result.err
    assert value_of("profile", "list") == []


@pytest.mark.usefixtures("terminal")
def test_unreachable_issuer_exits_with_10(server: LoginServer) -> None:
    server.offer("http://127.0.0.1:1")
    result = sealyard("login", server.url, "--device")
    assert result.code == 10
    assert "127.0.0.1:1" in result.err


@pytest.mark.usefixtures("terminal")
def test_untrusted_certificate_names_ca_option(tmp_path: Path) -> None:
    certificate, key = create_cert_pair(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    thread = LoopThread("tls-server")
    try:
        server = ScriptedServer(lambda exchange: exchange.refuse(404, "not-found"))
        asyncio.run(thread.call(server.start(tls=context)))
        result = sealyard("login", f"https://127.0.0.1:{server.port}")
    finally:
        thread.stop()
    assert result.code == 10
    assert "--ca" in result.err
