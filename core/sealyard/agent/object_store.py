"""Requests to the object store with grants, over HTTP/1.1.

URLs of grants are secrets: neither errors nor log messages contain more of them than the name of the host.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

import httpcore

from sealyard.model.errors import ArtifactStoreError
from sealyard.model.grants import Grant
from sealyard.model.safe_text import escape_text

MAX_CONNECTIONS = 16
TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0}
"""Seconds without progress after which a request fails."""

_TRANSIENT_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = 300, 400, 500


class TransientError(ArtifactStoreError):
    """The request failed, but the same request can succeed later."""


class GrantRejectedError(ArtifactStoreError):
    """The object store refused the grant, for example because it has expired."""


class ObjectStoreClient:
    """Sends requests with grants. Verifies certificates with the CAs of the system, and follows no redirects.

    ``allow_http``: whether a store on another machine may be used without encryption. All methods raise
    :class:`TransientError`, :class:`GrantRejectedError`, and :class:`ArtifactStoreError` for errors that last.
    """

    def __init__(self, *, allow_http: bool = False) -> None:
        self._allow_http = allow_http
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(), max_connections=MAX_CONNECTIONS
        )

    async def close(self) -> None:
        await self._pool.aclose()

    @asynccontextmanager
    async def get(self, grant: Grant, offset: int) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Request the object from ``offset``. Yields the offset at which the content of the response starts."""
        request_headers = [("range", f"bytes={offset}-")] if offset else []
        async with self._send("GET", grant, request_headers, None) as response:
            start = _content_start(response) if response.status == HTTPStatus.PARTIAL_CONTENT else 0
            if start not in (0, offset):
                raise _unexpected_error(grant, "another range than requested")
            yield start, response.aiter_stream()

    async def put(self, grant: Grant, content: AsyncIterator[bytes], size: int) -> None:
        """Write an object. Content that an earlier request has written is no error."""
        try:
            async with self._send("PUT", grant, [("content-length", str(size))], content):
                return
        except _ExistsError:
            # The response to the earlier request was lost. The engine compares the digest of the object.
            return

    @asynccontextmanager
    async def _send(
        self, method: str, grant: Grant, headers: list[tuple[str, str]], content: AsyncIterator[bytes] | None
    ) -> AsyncIterator[httpcore.Response]:
        url = _build_url(self._check_url(grant))
        names = {name.lower() for name, _ in grant.headers}
        all_headers = [*grant.headers, *((name, value) for name, value in headers if name not in names)]
        host = host_name(grant)
        try:
            async with self._pool.stream(
                method, url, headers=_encode_headers(all_headers), content=content, extensions={"timeout": TIMEOUTS}
            ) as response:
                _check_status(response.status, host)
                yield response
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError) as error:
            raise _connection_error(error, host) from None
        except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError):
            raise _unexpected_error(grant, "an invalid grant") from None

    def _check_url(self, grant: Grant) -> SplitResult:
        url = split_url(grant)
        is_allowed = url.scheme == "https" or (
            url.scheme == "http" and (self._allow_http or _is_loopback(url.hostname or ""))
        )
        if not is_allowed or not url.hostname or url.username is not None:
            raise ArtifactStoreError(
                f"The connection to the object store {host_name(grant)} would not be encrypted.",
                "Use an object store with https.",
            )
        return url


class _ExistsError(ArtifactStoreError):
    """The object exists already."""


def split_url(grant: Grant) -> SplitResult:
    """Return the parts of the URL. Raises :class:`ArtifactStoreError` if it is invalid."""
    try:
        url = urlsplit(grant.url)
        _ = url.port
    except ValueError:
        raise ArtifactStoreError("A grant for the object store has an invalid URL.", "Update the server.") from None
    return url


def host_name(grant: Grant) -> str:
    """Return the name of the host in the URL of a grant, for messages."""
    return escape_text(split_url(grant).hostname or "(no host)", 100)


def _build_url(url: SplitResult) -> httpcore.URL:
    target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    try:
        return httpcore.URL(
            scheme=url.scheme.encode(), host=(url.hostname or "").encode("idna"), port=url.port, target=target.encode()
        )
    except UnicodeError:
        raise ArtifactStoreError("A grant for the object store has an invalid URL.", "Update the server.") from None


def _encode_headers(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _content_start(response: httpcore.Response) -> int:
    """Return the first position in a Content-Range header, such as "bytes 100-199/200"; -1 if it has none."""
    values = [value for name, value in response.headers if name.lower() == b"content-range"]
    start = values[0].removeprefix(b"bytes ").partition(b"-")[0] if values else b""
    return int(start) if start.isdigit() else -1


def _check_status(status: int, host: str) -> None:
    if status < _REDIRECT:
        return
    if status < _CLIENT_ERROR:
        raise ArtifactStoreError(
            f"The object store {host} answered with a redirect ({status}), which is not followed.",
            "Check the endpoint and the region of the object store.",
        )
    if status == HTTPStatus.NOT_FOUND:
        raise ArtifactStoreError(
            f"An object is missing in the object store {host}.", "Check who can delete objects of the bucket."
        )
    if status == HTTPStatus.PRECONDITION_FAILED:
        raise _ExistsError(f"The object store {host} already contains this object.", "Check who can write to it.")
    if status in _TRANSIENT_STATUSES or status >= _SERVER_ERROR:
        raise TransientError(f"The object store {host} is unavailable (status {status}).", "Check the object store.")
    raise GrantRejectedError(
        f"The object store {host} rejected a request (status {status}).",
        "Check the permissions of the server in the object store, and the clocks of the server and the object store.",
    )


def _connection_error(error: Exception, host: str) -> ArtifactStoreError:
    """Return the error for a failed connection. The text of ``error`` is not repeated: it can contain headers."""
    if _is_caused_by_certificate(error):
        return ArtifactStoreError(
            f"The certificate of the object store {host} cannot be verified.",
            "Add its CA to the trusted certificates of the crypto host, or name a file in SSL_CERT_FILE there.",
        )
    reason = "did not respond in time" if isinstance(error, httpcore.TimeoutException) else "closed the connection"
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        reason = "cannot be reached"
    return TransientError(f"The object store {host} {reason}.", "Check the network of the crypto host.")


def _is_caused_by_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _unexpected_error(grant: Grant, what: str) -> ArtifactStoreError:
    return ArtifactStoreError(
        f"The object store {host_name(grant)} cannot be used: {what}.", "Check the object store, and update the server."
    )
