"""Requests to an OpenID Connect issuer as a public OAuth client (RFC 6749). All functions block."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import ClassVar, TypeVar

import httpx
import msgspec

from sealyard.client.config.server_tokens import LoginTokens
from sealyard.client.config.servers import is_secure_url
from sealyard.client.http.proxies import find_proxy
from sealyard.client.http.transport import Endpoint, create_ssl_context, unreachable_error
from sealyard.client.log import register_secret
from sealyard.model.base import JSON_ERRORS, SecretStruct
from sealyard.model.errors import AuthenticationError, ServerUnreachableError
from sealyard.model.login import LoginMethod
from sealyard.model.safe_text import escape_text

T = TypeVar("T")

TIMEOUT = 10.0
"""Maximum time between two network operations of a request, in seconds."""

MAX_BYTES = 1024 * 1024
"""Maximum size of a response."""

DEFAULT_LIFETIME_SECONDS = 300.0
"""Assumed lifetime of an access token if the issuer does not state it."""

MAX_REFRESH_MARGIN_SECONDS = 60.0
"""Maximum time before its expiry at which an access token is refreshed. It is shorter for short-lived tokens."""


class IssuerMetadata(msgspec.Struct, frozen=True):
    """The used members of a discovery document (OpenID Connect Discovery 1.0, section 3; RFC 8414; RFC 8628)."""

    issuer: str
    token_endpoint: str
    authorization_endpoint: str = ""
    device_authorization_endpoint: str = ""
    revocation_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False


class _TokenResponse(SecretStruct, frozen=True, kw_only=True, rename=str):
    """A successful response of the token endpoint (RFC 6749, section 5.1)."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("expires_in",)

    access_token: str
    token_type: str
    expires_in: float | None = None
    refresh_token: str = ""


class _ErrorResponse(msgspec.Struct):
    """An error response (RFC 6749, section 5.2)."""

    error: str
    error_description: str = ""


class OAuthError(Exception):
    """The issuer rejected a request with an error ``code`` (RFC 6749, section 5.2; RFC 8628, section 3.5)."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code)
        self.code = code
        self.description = description

    def to_authentication_error(self, issuer: str) -> AuthenticationError:
        detail = f": {escape_text(self.description, 200)}" if self.description else ""
        return AuthenticationError(
            f"{escape_text(issuer)} rejected the login ({escape_text(self.code, 60)}{detail}).", "Log in again."
        )


class IssuerClient:
    """A public OAuth client at one issuer. ``ca``: file of certificates to trust in addition to the system's."""

    def __init__(self, method: LoginMethod, ca: str = "") -> None:
        self.method = method
        self._ca = ca
        self._metadata: IssuerMetadata | None = None

    def discover(self) -> IssuerMetadata:
        """Return the metadata of the issuer.

        Raises :class:`ServerUnreachableError` if they cannot be fetched, or if they belong to another issuer or contain
        a URL that is not secure.
        """
        if self._metadata is None:
            url = f"{self.method.issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = get_document(url, IssuerMetadata, self._ca)
            if metadata is None:
                raise ServerUnreachableError(f"{escape_text(url)} not found.", "Check the issuer's URL.")
            self._check(metadata)
            self._metadata = metadata
        return self._metadata

    def post(self, url: str, form: Mapping[str, str], response_type: type[T]) -> T:
        """Send a form with the client's id and parameters. Raises :class:`OAuthError` if the issuer rejects it."""
        return _decode(self._post(url, form), response_type)

    def revoke(self, refresh_token: str) -> None:
        """Revoke a refresh token (RFC 7009), and with it the login, if the issuer supports this.

        Raises :class:`OAuthError` if the issuer rejects the request.
        """
        endpoint = self.discover().revocation_endpoint
        if endpoint:
            self._post(endpoint, {"token": refresh_token, "token_type_hint": "refresh_token"})

    def request_tokens(self, form: Mapping[str, str], now: datetime) -> LoginTokens:
        """Exchange a grant for tokens. Raises :class:`OAuthError` if the issuer rejects the grant."""
        response = self.post(self.discover().token_endpoint, form, _TokenResponse)
        for secret in (response.access_token, response.refresh_token):
            register_secret(secret)
        if response.token_type.lower() != "bearer":
            raise OAuthError("unsupported_token_type", response.token_type)
        lifetime = DEFAULT_LIFETIME_SECONDS if response.expires_in is None else max(response.expires_in, 0.0)
        margin = min(MAX_REFRESH_MARGIN_SECONDS, lifetime / 4)
        return LoginTokens(
            access_token=response.access_token,
            refresh_token=response.refresh_token,
            refresh_at=now + timedelta(seconds=lifetime - margin),
            expires_at=now + timedelta(seconds=lifetime),
            method=self.method,
        )

    def _post(self, url: str, form: Mapping[str, str]) -> httpx.Response:
        data = {**self.method.parameters, "client_id": self.method.client_id, **form}
        response = _send("POST", url, self._ca, data)
        if response.status_code == HTTPStatus.OK:
            return response
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerUnreachableError(f"{escape_text(url)} returned status {response.status_code}.", "Try again.")
        error = _decode(response, _ErrorResponse)
        raise OAuthError(error.error, error.error_description)

    def _check(self, metadata: IssuerMetadata) -> None:
        if metadata.issuer != self.method.issuer:
            raise ServerUnreachableError(
                f"Wrong issuer in the discovery document: {escape_text(metadata.issuer, 200)}.",
                f"Expected {escape_text(self.method.issuer, 200)}.",
            )
        endpoints = (
            metadata.token_endpoint,
            metadata.authorization_endpoint,
            metadata.device_authorization_endpoint,
            metadata.revocation_endpoint,
        )
        for url in filter(None, endpoints):
            if not is_secure_url(url):
                raise ServerUnreachableError(f"Insecure URL of the issuer: {escape_text(url, 200)}.")


def get_document(url: str, document_type: type[T], ca: str = "") -> T | None:
    """Return the JSON document at ``url``, or None if it does not exist.

    Raises :class:`ServerUnreachableError` if there is no valid response.
    """
    response = _send("GET", url, ca)
    if response.status_code == HTTPStatus.NOT_FOUND:
        return None
    if response.status_code != HTTPStatus.OK:
        raise ServerUnreachableError(f"{escape_text(url)} returned status {response.status_code}.", "Try again.")
    return _decode(response, document_type)


def _send(method: str, url: str, ca: str, data: Mapping[str, str] | None = None) -> httpx.Response:
    try:
        with httpx.Client(
            verify=create_ssl_context(url, ca),
            timeout=TIMEOUT,
            # Use proxies for TLS only: they could read unencrypted requests.
            proxy=find_proxy(url) if url.startswith("https:") else None,
            trust_env=False,
            follow_redirects=False,
        ) as client:
            return _read_limited(client, method, url, data)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise unreachable_error(error, Endpoint(url=url)) from error


def _read_limited(client: httpx.Client, method: str, url: str, data: Mapping[str, str] | None) -> httpx.Response:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "sealyard"}
    with client.stream(method, url, data=data, headers=headers) as response:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ServerUnreachableError(f"The response of {escape_text(url)} has more than {MAX_BYTES} bytes.")
        return httpx.Response(response.status_code, content=bytes(body), request=response.request)


def _decode(response: httpx.Response, document_type: type[T]) -> T:
    try:
        # Not strict: Entra ID sends numbers as text.
        return msgspec.json.decode(response.content, type=document_type, strict=False)
    except JSON_ERRORS as error:
        raise ServerUnreachableError(f"Invalid response from {escape_text(str(response.request.url))}.") from error
