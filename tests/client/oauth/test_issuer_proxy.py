"""Tests of requests to an issuer through the proxies of the environment."""

from __future__ import annotations

import pytest

from sealyard.client.oauth.issuer import IssuerMetadata, get_document
from sealyard.model.errors import ServerUnreachableError

URL = "https://issuer.invalid/.well-known/openid-configuration"


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:1", "ftp://x", "http://127.0.0.1:99999"])
def test_unusable_proxy_is_reported(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ServerUnreachableError, match="Cannot use the proxy in HTTPS_PROXY"):
        get_document(URL, IssuerMetadata)


def test_network_in_no_proxy_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "fe80::/10,[::1],127.0.0.1")
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1"):
        get_document("https://127.0.0.1:1/", IssuerMetadata)
