"""The issuer `oidc-provider` from npm, and a browser that logs in to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from urllib.parse import urljoin

import httpx
import msgspec

from sealyard.model.login import LoginMethod
from sealyard.server.settings import OidcSettings
from tests.support.limits import TIMEOUT
from tests.support.node import INTEROP_DIR, Node

AUDIENCE = "https://seal.example"
CLIENT_ID = "sealyard-cli"
SCOPES = "openid offline_access sign"


class OidcProvider:
    """A running issuer. ``url``: its issuer URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def settings(self) -> OidcSettings:
        return OidcSettings(
            issuer=self.url,
            audience=AUDIENCE,
            login_client_id=CLIENT_ID,
            login_scopes=SCOPES,
            login_parameters={"resource": AUDIENCE},
        )

    @property
    def method(self) -> LoginMethod:
        return LoginMethod(issuer=self.url, client_id=CLIENT_ID, scopes=SCOPES, parameters={"resource": AUDIENCE})

    def log_in(self, url: str, account: str) -> httpx.Response:
        """Open ``url`` as a browser does, log in as ``account``, consent, and return the last response."""
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT) as browser:
            response = browser.get(url)
            while (form := _find_form(response, account)) is not None:
                response = browser.post(form[0], data=form[1])
            return response

    def refuse(self, url: str) -> httpx.Response:
        """Open ``url``, and cancel the login where the issuer asks for the account."""
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT) as browser:
            response = browser.get(url)
            while (abort_link := re.search(r'href="([^"]*/abort)"', response.text)) is None:
                form = _find_form(response, "")
                assert form is not None, response.text
                response = browser.post(form[0], data=form[1])
            return browser.get(urljoin(str(response.url), abort_link[1]))

    def revoke(self, token: str) -> None:
        """Revoke a refresh token (RFC 7009)."""
        form = {"token": token, "token_type_hint": "refresh_token", "client_id": CLIENT_ID}
        httpx.post(f"{self.url}/token/revocation", data=form).raise_for_status()


@contextmanager
def run_oidc_provider(node: Node, *, access_token_seconds: int = 600) -> Iterator[OidcProvider]:
    options = msgspec.json.encode({"audience": AUDIENCE, "accessTokenSeconds": access_token_seconds}).decode()
    command = [node.command, str(INTEROP_DIR / "oidc_provider.mjs"), options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield OidcProvider(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


def _find_form(response: httpx.Response, account: str) -> tuple[str, dict[str, str]] | None:
    """Return the URL and the fields of the form on the page; the account is entered where a login is requested."""
    form = re.search(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', response.text, re.DOTALL)
    if form is None:
        return None
    inputs = re.findall(r"<input[^>]*>", form[2])
    fields = {name: _attribute(text, "value") for text in inputs if (name := _attribute(text, "name"))}
    if "login" in fields:
        fields |= {"login": account, "password": "any"}
    return urljoin(str(response.url), unescape(form[1])), fields


def _attribute(text: str, name: str) -> str:
    match = re.search(rf'\b{name}="([^"]*)"', text)
    return unescape(match[1]) if match is not None else ""
