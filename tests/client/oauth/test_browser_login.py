"""Test the authorization code grant with PKCE and a loopback redirect (RFC 7636, RFC 8252)."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from sealyard.client.oauth import browser_login
from sealyard.client.oauth.browser_login import can_open_browser, log_in_with_browser
from sealyard.concurrency.clock import SystemClock
from sealyard.model.errors import AuthenticationError, UsageError
from tests.support.limits import TIMEOUT
from tests.support.scripted_issuer import ISSUER, ScriptedIssuer, login_tokens

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 29, tzinfo=UTC)
Query = dict[str, str]
Visit = Callable[[Query, httpx.AsyncClient], Coroutine[Any, Any, None]]


async def log_in(issuer: ScriptedIssuer, visit: Visit) -> None:
    """Log in with a browser that calls ``visit`` with the parameters of the authorization request."""
    visits: list[asyncio.Task[None]] = []

    def open_browser(url: str) -> None:
        visits.append(asyncio.create_task(browse(url)))

    async def browse(url: str) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        async with httpx.AsyncClient(timeout=TIMEOUT) as http:
            await visit(query, http)

    try:
        assert await log_in_with_browser(issuer, open_browser, SystemClock()) == login_tokens(NOW)
    finally:
        await asyncio.gather(*visits)


async def test_code_is_exchanged_with_verifier() -> None:
    issuer, requests = ScriptedIssuer(login_tokens(NOW)), []

    async def visit(query: Query, http: httpx.AsyncClient) -> None:
        requests.append(query)
        response = await http.get(query["redirect_uri"], params={"code": "c1", "state": query["state"]})
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"

    await log_in(issuer, visit)
    (query,), (form,) = requests, issuer.forms
    assert (query["response_type"], query["client_id"], query["resource"]) == ("code", "cli", "seal")
    assert (query["scope"], query["prompt"], query["code_challenge_method"]) == (
        "openid offline_access",
        "consent",
        "S256",
    )
    redirect = urlsplit(query["redirect_uri"])
    assert (redirect.scheme, redirect.hostname, redirect.path) == ("http", "127.0.0.1", "/callback")
    assert (form["grant_type"], form["code"], form["redirect_uri"]) == (
        "authorization_code",
        "c1",
        query["redirect_uri"],
    )
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert query["code_challenge"] == urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert 43 <= len(form["code_verifier"]) <= 128


async def test_foreign_requests_do_not_disturb_login() -> None:
    async def visit(query: Query, http: httpx.AsyncClient) -> None:
        redirect_uri, state = query["redirect_uri"], query["state"]
        for params in ({}, {"code": "c1"}, {"code": "c1", "state": "guess"}, {"error": "access_denied"}):
            assert (await http.get(redirect_uri, params=params)).status_code == 400
        assert (await http.post(redirect_uri, params={"code": "c1", "state": state})).status_code == 400
        assert (await http.get(redirect_uri.replace("callback", "other"), params={"state": state})).status_code == 400
        assert (await http.get(redirect_uri, params={"code": "c1", "state": state})).status_code == 200

    await log_in(ScriptedIssuer(login_tokens(NOW)), visit)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"error": "access_denied", "error_description": "no\x1b[2J"}, "access_denied"),
        ({}, "no code"),
        ({"code": "c1", "iss": "https://elsewhere.example"}, "another issuer"),
    ],
)
async def test_unusable_response_is_rejected(parameters: Query, message: str) -> None:
    issuer = ScriptedIssuer()

    async def visit(query: Query, http: httpx.AsyncClient) -> None:
        await http.get(query["redirect_uri"], params={"state": query["state"], **parameters})

    with pytest.raises(AuthenticationError, match=message) as error:
        await log_in(issuer, visit)
    assert str(error.value).isprintable()
    assert issuer.forms == []


async def test_missing_issuer_is_rejected_if_the_issuer_supports_it() -> None:
    issuer = ScriptedIssuer()
    issuer.metadata = msgspec.structs.replace(issuer.metadata, authorization_response_iss_parameter_supported=True)

    async def visit(query: Query, http: httpx.AsyncClient) -> None:
        await http.get(query["redirect_uri"], params={"state": query["state"], "code": "c1"})

    with pytest.raises(AuthenticationError, match="another issuer"):
        await log_in(issuer, visit)


async def test_login_that_is_not_completed_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_login, "LOGIN_TIMEOUT", 0.01)

    async def visit(query: Query, http: httpx.AsyncClient) -> None:
        return

    with pytest.raises(AuthenticationError, match="in time"):
        await log_in(ScriptedIssuer(), visit)


async def test_issuer_without_authorization_endpoint_raises_usage_error() -> None:
    issuer = ScriptedIssuer()
    issuer.metadata = msgspec.structs.replace(issuer.metadata, authorization_endpoint="")
    with pytest.raises(UsageError, match="does not support"):
        await log_in_with_browser(issuer, print, SystemClock())
    assert issuer.metadata.issuer == ISSUER


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS always has a display")
@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, False),
    ],
)
def test_browser_requires_local_display(
    environ: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.get", object)
    assert can_open_browser(environ) is expected
