"""Test the choice of the proxy for a server, also with variables that httpx itself cannot read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealyard.client.http import proxies
from sealyard.client.http.documents import fetch_document
from sealyard.client.http.proxies import find_proxy, is_excluded
from sealyard.model.errors import DeliveryCertainty, ServerUnreachableError
from tests.client.http.test_connection import run_over_tls
from tests.support.fake_client import FakeClock
from tests.support.scripted_server import INFO, ScriptedServer, client_of

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
SERVER = "https://seal.example:8443"
UNUSABLE = (
    *("socks://127.0.0.1:1", "socks4://127.0.0.1:1", "ftp://x", "://", "http://", "https://[::1", "http://x:abc"),
    *("http://127.0.0.1:99999", "http://user:swordfish@x:abc", "\x1b[31m://x"),
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("*", "seal.example"),
        ("a.example, *", "seal.example"),
        ("seal.example", "seal.example"),
        ("SEAL.example", "seal.EXAMPLE."),
        ("a.example,example", "seal.example"),
        ("a.example example", "seal.example"),
        (".example", "seal.example"),
        ("*.example", "seal.example"),
        ("seal.example:8443", "seal.example"),
        ("https://seal.example", "seal.example"),
        ("all://seal.example", "seal.example"),
        ("bücher.example", "bücher.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:8443", "127.0.0.1"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:8443", "::1"),
        ("::1/128", "::1"),
        ("[fd07::]/64", "fd07::1"),
        ("fe80::/10", "fe80::1%eth0"),
        ("fd07:b51a:cc66:0::/64,0:0:0:0:0:0:0:1", "::1"),
    ],
)
def test_server_is_excluded(no_proxy: str, host: str) -> None:
    assert is_excluded(host, 8443, no_proxy)


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("", "seal.example"),
        (",, ,", "seal.example"),
        (".seal.example", "seal.example"),
        ("eal.example", "seal.example"),
        ("seal.example:443", "seal.example"),
        ("http://seal.example", "seal.example"),
        ("10.0.0.0/8", "seal.example"),
        ("10.0.0.0/8", "::1"),
        ("fe80::/10", "::1"),
        ("::1", "127.0.0.1"),
        ("[::1]:443", "::1"),
        (":8443", "seal.example"),
        ("[", "seal.example"),
        ("10.0.0.0/99", "10.0.0.1"),
        ("fe80::%zz/::/:", "fe80::1"),
        ("://", "seal.example"),
        ("seal.example:port", "seal.example"),
    ],
)
def test_server_is_not_excluded(no_proxy: str, host: str) -> None:
    assert not is_excluded(host, 8443, no_proxy)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy:1"}, None),
        ({"HTTPS_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ({"https_proxy": "proxy:1"}, "http://proxy:1"),
        ({"ALL_PROXY": "https://proxy:1"}, "https://proxy:1"),
        ({"HTTPS_PROXY": "http://proxy:1", "ALL_PROXY": "socks5://other:1"}, "http://proxy:1"),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "fe80::/10,::1/128"}, "http://proxy:1"),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "seal.example"}, None),
    ],
)
def test_proxy_is_read_from_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    proxy = find_proxy(SERVER)
    assert (str(proxy.url) if proxy else None) == expected


def test_international_name_is_excluded_in_both_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    for name in ("bücher.example", "xn--bcher-kva.example"):
        monkeypatch.setenv("NO_PROXY", name)
        assert find_proxy("https://bücher.example") is None


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", UNUSABLE)
def test_unusable_proxy_is_reported(monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str) -> None:
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(ServerUnreachableError, match=f"Cannot use the proxy in {variable}") as caught:
        find_proxy(SERVER)
    assert caught.value.reach is DeliveryCertainty.NOT_POSSIBLE
    assert "add seal.example to NO_PROXY" in caught.value.hint
    assert str(caught.value).isprintable()
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(("is_installed", "scheme"), [(True, "socks5"), (True, "socks5h"), (False, "socks5h")])
def test_socks_proxy_needs_extra(monkeypatch: pytest.MonkeyPatch, is_installed: bool, scheme: str) -> None:
    monkeypatch.setattr(proxies, "find_spec", lambda _: object() if is_installed else None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:1")
    if is_installed:
        assert find_proxy(SERVER) is not None
        return
    with pytest.raises(ServerUnreachableError, match=r"httpx\[socks\]"):
        find_proxy(SERVER)


# ---- clients


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks://127.0.0.1:1", "ftp://x", "http://127.0.0.1:99999"])
def test_excluded_server_is_reached_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    async def work(_: ScriptedServer, pem: Path, url: str) -> None:
        assert await client_of(url, ca=str(pem)).workspace() == INFO

    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "fe80::/10,::1/128,[::1],127.0.0.0/8")
    run_over_tls(tmp_path, work)


def test_unusable_proxy_is_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: ScriptedServer, pem: Path, url: str) -> None:
        clock = FakeClock()
        with pytest.raises(ServerUnreachableError, match="Cannot use the proxy"):
            await client_of(url, ca=str(pem), clock=clock).workspace()
        assert (clock.slept, server.calls) == ([], [])

    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1")
    run_over_tls(tmp_path, work)


def test_invalid_request_url_is_not_retried(tmp_path: Path) -> None:
    async def work(server: ScriptedServer, pem: Path, url: str) -> None:
        clock = FakeClock()
        with pytest.raises(ServerUnreachableError, match="Cannot send the request") as caught:
            await client_of(url, ca=str(pem), clock=clock).task("x" * 70_000)
        assert caught.value.is_permanent
        assert (clock.slept, server.calls) == ([], [])

    run_over_tls(tmp_path, work)


def test_document_behind_unusable_proxy_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1")
    with pytest.raises(ServerUnreachableError, match="Cannot use the proxy"):
        asyncio.run(fetch_document("https://127.0.0.1:1/keys"))
