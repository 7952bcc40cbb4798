"""HTTP client of a Vault or OpenBao server."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from sealyard.keys.backends.endpoints import check_endpoint
from sealyard.keys.worker_settings import VaultOptions
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.provider_settings import ProviderSettings
from sealyard.model.safe_text import escape_text

CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 20.0
"""Maximum time between two parts of a response. Generating an RSA key of 4096 bits takes several seconds."""

MAX_CONNECTIONS = 32

_STANDBY_STATUS = frozenset({429, 472, 473, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.MOVED_PERMANENTLY})
_STALE_STATUS = 412
"""The status of a server that has not yet received a change that the client knows."""

_VERSION_REFUSED = "requested version"
"""Part of the error of an older version that must not be used any more. Its status is 500 for signatures."""


class Authentication(msgspec.Struct, frozen=True):
    """The result of a login or renewal."""

    client_token: str
    lease_duration: float = 0
    renewable: bool = False


class VaultResponse(msgspec.Struct, frozen=True):
    """The body of a response. ``status`` is the HTTP status."""

    status: int = 0
    data: Mapping[str, Any] | None = None
    auth: Authentication | None = None
    errors: tuple[str, ...] | None = ()

    @property
    def is_success(self) -> bool:
        return self.status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT)

    @property
    def reason(self) -> str:
        """The errors of the server as one line of printable text."""
        words = " ".join(self.errors or ()).removeprefix("1 error occurred:").replace("*", " ").split()
        return escape_text(" ".join(words), 200) or f"status {self.status}"


class VaultClient:
    """Sends requests. Can be used by several threads.

    ``service``: the server in error messages, for example "the Vault server https://vault.example:8200 of the key
    provider corp".
    """

    def __init__(self, settings: ProviderSettings, options: VaultOptions) -> None:
        check_endpoint(settings, "address", options.address)
        self.service = f"the Vault server {options.address} of the key provider {settings.name}"
        self._http = httpx.Client(
            base_url=f"{options.address.rstrip('/')}/v1/",
            headers={
                "X-Vault-Request": "true",
                **({"X-Vault-Namespace": options.namespace} if options.namespace else {}),
            },
            verify=_create_ssl_context(settings, options),
            timeout=httpx.Timeout(READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            # A proxy would read the token, and .netrc would replace it.
            trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None) -> VaultResponse:
        """Send a request and return the response, whose status is not that of a server that cannot be used now.

        Raises :class:`KeyProviderUnavailableError` if the server is not reachable, sealed, on standby or overloaded,
        and :class:`KeyProviderError` if its certificate is not trusted, or if it is not a Vault server.
        """
        content = None if body is None else msgspec.json.encode(body)
        headers = {"X-Vault-Token": token} if token else {}
        try:
            response = self._http.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise self._to_transport_error(error) from None
        answer = _decode(response)
        self._check_status(response.status_code, answer)
        if answer is None:
            raise KeyProviderError(
                f"{capitalize(self.service)} does not answer like a Vault or OpenBao server.",
                "Correct the option address.",
            )
        return answer

    def _check_status(self, status: int, answer: VaultResponse | None) -> None:
        if status in _STANDBY_STATUS:
            raise KeyProviderUnavailableError(
                f"{capitalize(self.service)} is a standby or limits the rate of requests (status {status}).",
                "Set the option address to the active server or its load balancer, and try again.",
            )
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise KeyProviderUnavailableError(
                f"{capitalize(self.service)} is sealed or not ready.", "Unseal it and try again."
            )
        if answer is not None and _VERSION_REFUSED in answer.reason:
            return
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == _STALE_STATUS:
            raise KeyProviderUnavailableError(
                f"{capitalize(self.service)} failed (status {status}).", "See its log, and try again."
            )

    def _to_transport_error(self, error: httpx.HTTPError) -> KeyProviderError:
        """Return an error without the words of ``error``, except for a certificate that is not trusted."""
        cause = _find_ssl_error(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return KeyProviderError(
                f"The certificate of {self.service} is not trusted: {escape_text(cause.verify_message, 200)}.",
                "Set ca_file to the certificate of its CA, and address to a name in its certificate.",
            )
        if cause is not None:
            return KeyProviderUnavailableError(
                f"{capitalize(self.service)} does not answer with TLS.",
                "Check its log, and that the option address has the scheme and port of its listener.",
            )
        if isinstance(error, httpx.TimeoutException):
            problem = "does not answer in time"
        elif isinstance(error, httpx.ConnectError):
            problem = "is not reachable"
        else:
            problem = "closed the connection"
        return KeyProviderUnavailableError(
            f"{capitalize(self.service)} {problem}.",
            "Check that it is running and that the network permits connections.",
        )


def capitalize(text: str) -> str:
    """Return ``text`` as the start of a sentence."""
    return text[:1].upper() + text[1:]


def _decode(response: httpx.Response) -> VaultResponse | None:
    """Return the response, or None if it is not one of Vault."""
    if not response.content:
        return VaultResponse(status=response.status_code)
    try:
        answer = msgspec.json.decode(response.content, type=VaultResponse)
    except msgspec.MsgspecError:
        return None
    return msgspec.structs.replace(answer, status=response.status_code)


def _create_ssl_context(settings: ProviderSettings, options: VaultOptions) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.ca_file or None)
    except OSError as error:  # including ssl.SSLError
        raise KeyProviderError(
            f"The CA file {options.ca_file} of the key provider {settings.name} cannot be used: {error.strerror}.",
            "Set the option ca_file to a file with certificates in PEM format.",
        ) from None


def _find_ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error
