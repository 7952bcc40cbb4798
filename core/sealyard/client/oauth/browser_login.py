"""Login in a browser on this machine: authorization code with PKCE, returned to a loopback address (RFC 8252)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
import webbrowser
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

from sealyard.client.config.server_tokens import LoginTokens
from sealyard.client.log import register_secret
from sealyard.client.oauth.issuer import IssuerClient, IssuerMetadata, OAuthError
from sealyard.model.clock import Clock
from sealyard.model.errors import AuthenticationError, UsageError
from sealyard.model.safe_text import escape_text

LOGIN_TIMEOUT = 600.0
"""Seconds to wait until the user has logged in."""

CALLBACK_PATH = "/callback"
MAX_REQUEST_BYTES = 16 * 1024
REQUEST_TIMEOUT = 10.0
"""Seconds to wait for the rest of a request to the loopback address."""


def can_open_browser(environ: Mapping[str, str]) -> bool:
    """Return whether this process can open a graphical browser whose redirects reach this machine."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    has_display = sys.platform == "darwin" or any(
        environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    )
    try:
        return has_display and webbrowser.get() is not None
    except webbrowser.Error:
        return False


async def log_in_with_browser(issuer: IssuerClient, show: Callable[[str], None], clock: Clock) -> LoginTokens:
    """Send the user to the issuer and wait for the authorization code.

    ``show`` receives the URL, and opens it in a browser. Raises :class:`AuthenticationError` if the user refuses or
    does not log in in time, :class:`UsageError` if the issuer does not support the grant, and
    :class:`ServerUnreachableError` if it does not respond.
    """
    metadata = await asyncio.to_thread(issuer.discover)
    if not metadata.authorization_endpoint:
        raise UsageError(
            f"{escape_text(metadata.issuer)} does not support logins in a browser.",
            "Log in with a code, or with a token.",
        )
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    register_secret(verifier)
    async with _receive_callback(state) as (redirect_uri, callback):
        show(_authorization_url(issuer, metadata, redirect_uri, state, verifier))
        try:
            async with asyncio.timeout(LOGIN_TIMEOUT):
                parameters = await callback
        except TimeoutError:
            raise AuthenticationError("The login was not completed in time.", "Log in again.") from None
    try:
        form = {
            "grant_type": "authorization_code",
            "code": _authorization_code(parameters, metadata),
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        return await asyncio.to_thread(issuer.request_tokens, form, clock.now())
    except OAuthError as error:
        raise error.to_authentication_error(metadata.issuer) from None


def _authorization_url(
    issuer: IssuerClient, metadata: IssuerMetadata, redirect_uri: str, state: str, verifier: str
) -> str:
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    # Without consent, issuers ignore offline_access and issue no refresh token (OpenID Connect Core 1.0, section 11).
    prompt = {"prompt": "consent"} if "offline_access" in issuer.method.scopes.split() else {}
    query = {
        **prompt,
        **issuer.method.parameters,
        "response_type": "code",
        "client_id": issuer.method.client_id,
        "redirect_uri": redirect_uri,
        "scope": issuer.method.scopes,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
    return f"{metadata.authorization_endpoint}{separator}{urlencode(query)}"


def _authorization_code(parameters: Mapping[str, str], metadata: IssuerMetadata) -> str:
    """Return the code of an authorization response.

    Raises :class:`OAuthError` if the response is an error, or comes from another issuer (RFC 9207).
    """
    default_issuer = "" if metadata.authorization_response_iss_parameter_supported else metadata.issuer
    if parameters.get("iss", default_issuer) != metadata.issuer:
        raise OAuthError("invalid_response", "the response comes from another issuer")
    if "error" in parameters:
        raise OAuthError(parameters["error"], parameters.get("error_description", ""))
    if not parameters.get("code"):
        raise OAuthError("invalid_response", "the response contains no code")
    register_secret(parameters["code"])
    return parameters["code"]


# ---- the loopback address


@asynccontextmanager
async def _receive_callback(state: str) -> AsyncIterator[tuple[str, asyncio.Future[dict[str, str]]]]:
    """Listen on a free port of 127.0.0.1, and yield its redirect URI and a future with the callback's parameters.

    Only the first request that contains ``state`` is accepted, so that other local programs and web pages cannot
    complete or disturb the login.
    """
    callback: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                request = await reader.readuntil(b"\r\n\r\n")
                parameters = _parse_callback(request)
                is_expected = _has_state(parameters, state) and not callback.done()
                writer.write(_render_response(parameters, is_expected=is_expected))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()
        if is_expected and not callback.done():
            callback.set_result(parameters)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=MAX_REQUEST_BYTES)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}{CALLBACK_PATH}", callback


def _parse_callback(request: bytes) -> dict[str, str]:
    """Return the parameters of a request, or an empty dict if it is not for the callback."""
    method, _, rest = request.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
    path, _, query = rest.partition(" ")[0].partition("?")
    return dict(parse_qsl(query)) if method == "GET" and path == CALLBACK_PATH else {}


def _has_state(parameters: Mapping[str, str], state: str) -> bool:
    return secrets.compare_digest(parameters.get("state", "").encode(), state.encode())


def _render_response(parameters: Mapping[str, str], *, is_expected: bool) -> bytes:
    status, text = "200 OK", "You can close this page and return to the terminal."
    if not is_expected:
        status, text = "400 Bad Request", "This page does not belong to a login in progress."
    elif "error" in parameters:
        text = "The login failed. The terminal shows the reason."
    body = f"<!doctype html><meta charset=utf-8><title>Sealyard</title><p>{text}"
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{body}"
    ).encode()
