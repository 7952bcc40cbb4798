"""Requests to an object store, with URLs that the server has signed.

The requests carry no credentials of the server, and their URLs are secrets: they are sent over a transport, because
the clients of httpx log the URL of each request.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from urllib.parse import urlsplit

import httpx

from sealyard.client.http.proxies import find_proxy
from sealyard.client.http.transport import Endpoint, ResponseStream, Timeouts, create_ssl_context, unreachable_error
from sealyard.model.errors import DeliveryCertainty, ServerUnreachableError
from sealyard.model.grants import Grant

# With the level DEBUG, httpcore logs the header fields of responses, such as the Location of a redirect.
logging.getLogger("httpcore").setLevel(logging.WARNING)


class _SignedRequest(httpx.Request):
    """A request whose representation does not contain the URL, for crash reports."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method}>"


class ObjectStoreConnection:
    """Sends requests to the object stores that a server names. Each request has a connection of its own.

    All methods raise :class:`ServerUnreachableError` if there is no response, or if the URL must not be used.
    """

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts) -> None:
        """``endpoint``: the server. Its authorities are trusted, and its unencrypted object stores if it is one."""
        self._endpoint = endpoint
        self._timeouts = timeouts
        self._ssl_context: ssl.SSLContext | None = None

    @property
    def is_allowed(self) -> bool:
        """Whether the server is one on a network, and not a process of this machine behind a Unix socket."""
        return not self._endpoint.socket

    async def send(self, method: str, grant: Grant, content: AsyncIterable[bytes]) -> int:
        """Send a body, and return the status of the response."""
        async with self._open_response(method, grant.url, dict(grant.headers), content) as response:
            return response.status_code

    @contextlib.asynccontextmanager
    async def stream(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[ResponseStream]:
        """Send a GET request, and stream the response with any status."""
        async with self._open_response("GET", url, headers, None) as response:
            yield ResponseStream(response)

    @contextlib.asynccontextmanager
    async def _open_response(
        self, method: str, url: str, headers: Mapping[str, str], content: AsyncIterable[bytes] | None
    ) -> AsyncIterator[httpx.Response]:
        self._check_url(url)
        timeouts = self._timeouts
        timeout = {
            "connect": timeouts.connect,
            "read": timeouts.transfer,
            "write": timeouts.transfer,
            "pool": timeouts.pool,
        }
        try:
            request = _SignedRequest(method, url, headers=headers, content=content, extensions={"timeout": timeout})
            async with self._create_transport(url) as transport:
                response = await transport.handle_async_request(request)
                try:
                    yield response
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            host = urlsplit(url).hostname or ""
            raise unreachable_error(error, Endpoint(display_name=f"the object store {host}")) from None

    def _create_transport(self, url: str) -> httpx.AsyncHTTPTransport:
        if self._ssl_context is None:
            # An unencrypted server may name an encrypted object store.
            self._ssl_context = create_ssl_context("https:", self._endpoint.ca)
        proxy = find_proxy(url) if url.startswith("https:") else None
        return httpx.AsyncHTTPTransport(verify=self._ssl_context, proxy=proxy, trust_env=False)

    def _check_url(self, url: str) -> None:
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            scheme = ""
        if scheme == "https" or (scheme == "http" and self._endpoint.url.startswith("http:")):
            return
        raise ServerUnreachableError(
            "The connection to the object store would not be encrypted.",
            "Ask the administrator of the server to use https for the object store.",
            reach=DeliveryCertainty.NOT_POSSIBLE,
        )
