"""HTTP transport to a Sealyard server, over the network or a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

import httpx

from sealyard.client.http.proxies import find_proxy
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import DeliveryCertainty, InvalidInputError, ServerUnreachableError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text

API = "/api/v1"
KEEPALIVE_SECONDS = 4.0
"""Seconds for which idle connections are kept open.

Shorter than the keep-alive timeout of servers, so that no server closes a connection just as it is reused.
"""

# httpx logs every request at INFO, which would fill the log file of this program.
logging.getLogger("httpx").setLevel(logging.WARNING)


TokenSource = Callable[[], Awaitable[str]]
"""Returns the access token to send, refreshed if necessary."""


class Timeouts(FrozenStruct, frozen=True, kw_only=True):
    """HTTP timeouts in seconds, and the size of the connection pool.

    ``connect``: until the connection is established. ``read``: from the request to its response. ``transfer``: between
    two chunks of a body, in either direction. ``pool``: until one of at most ``connections`` connections is free.
    """

    connect: float = 5.0
    read: float = 30.0
    transfer: float = 30.0
    pool: float = 30.0
    connections: int = 20


class Endpoint(SecretStruct, frozen=True, kw_only=True):
    """Address of a server, and the caller's credentials for it.

    ``url``: such as ``https://seal.example:8443``. ``socket``: path of a Unix socket to connect to instead.
    ``display_name``: name of the server in messages. ``ca``: file of certificates (PEM) to trust in addition to the
    system's. ``subject``: only sent over a socket.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("url", "socket", "tenant", "subject")

    url: str = ""
    socket: str = ""
    display_name: str = ""
    ca: str = ""
    token: str = ""
    tenant: str = ""
    subject: str = ""

    @property
    def name(self) -> str:
        """Name of the server for messages, escaped."""
        return escape_text(self.display_name or self.socket or self.url)

    @property
    def headers(self) -> dict[str, str]:
        """Headers sent with every request."""
        headers = {
            "Authorization": f"Bearer {self.token}" if self.token else "",
            "X-SE-TENANT": self.tenant,
            "X-SE-SUBJECT": self.subject if self.socket else "",
        }
        return {"User-Agent": "sealyard", **{name: value for name, value in headers.items() if value}}


class Request(SecretStruct, frozen=True, kw_only=True):
    """A request. ``path`` is relative to :data:`API`; ``read_timeout`` (seconds) replaces the default read timeout."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("method", "path")

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    content: bytes | AsyncIterable[bytes] = b""
    read_timeout: float | None = None


class Response(SecretStruct, frozen=True, kw_only=True):
    """A complete response with any ``status``; header names are in lower case."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("status",)

    status: int
    headers: Mapping[str, str]
    body: bytes


class ResponseStream:
    """A response whose body is streamed."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def chunks(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the raw body in chunks as they arrive or, if ``chunk_size`` is set, in chunks of so many bytes."""
        return self._response.aiter_raw(chunk_size)

    async def read(self) -> Response:
        """Read the whole body and return the complete response."""
        return Response(status=self.status, headers=self.headers, body=await self._response.aread())


class Connection:
    """Pooled connections to one endpoint.

    Requests raise :class:`ServerUnreachableError` if there is no response. Responses with any status are returned.
    """

    def __init__(
        self, endpoint: Endpoint, timeouts: Timeouts | None = None, token_source: TokenSource | None = None
    ) -> None:
        """Create a pool without connections. ``token_source`` replaces the token of ``endpoint``."""
        self.endpoint = endpoint
        self._auth = _BearerAuth(token_source) if token_source is not None else None
        self.timeouts = timeouts or Timeouts()
        # httpx connections only work on the event loop on which they were created.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def send(self, request: Request) -> Response:
        """Send a request and return the complete response."""
        async with self._open_response(request, request.read_timeout or self.timeouts.read) as response:
            return await ResponseStream(response).read()

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ResponseStream]:
        """Send a request and stream the response.

        Raises :class:`ServerUnreachableError` also while the body is read.
        """
        async with self._open_response(request, self.timeouts.transfer) as response:
            yield ResponseStream(response)

    async def close(self) -> None:
        """Close the connections of the running event loop; those of other loops are closed with their loops."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    @contextlib.asynccontextmanager
    async def _open_response(self, request: Request, read_timeout: float) -> AsyncIterator[httpx.Response]:
        timeouts = self.timeouts
        timeout = httpx.Timeout(
            connect=timeouts.connect, read=read_timeout, write=timeouts.transfer, pool=timeouts.pool
        )
        try:
            async with self._get_client().stream(
                request.method,
                request.path,
                params=dict(request.query),
                headers=dict(request.headers),
                content=request.content,
                timeout=timeout,
            ) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise unreachable_error(error, self.endpoint) from error

    def _get_client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._create_client()
        return client

    def _create_client(self) -> httpx.AsyncClient:
        endpoint = self.endpoint
        ssl_context = create_ssl_context("" if endpoint.socket else endpoint.url, endpoint.ca)
        base_url = f"{'http://localhost' if endpoint.socket else endpoint.url}{API}"
        pool_limits = httpx.Limits(max_connections=self.timeouts.connections, keepalive_expiry=KEEPALIVE_SECONDS)
        return httpx.AsyncClient(
            base_url=base_url,
            headers=endpoint.headers,
            auth=self._auth,
            verify=ssl_context,
            limits=pool_limits,
            transport=(
                httpx.AsyncHTTPTransport(uds=endpoint.socket, verify=ssl_context, limits=pool_limits)
                if endpoint.socket
                else None
            ),
            # Use proxies for TLS only: they could read unencrypted requests, including the token.
            proxy=find_proxy(base_url) if base_url.startswith("https:") else None,
            trust_env=False,
        )


class _BearerAuth(httpx.Auth):
    """Adds the current access token to each request."""

    def __init__(self, token_source: TokenSource) -> None:
        self._token_source = token_source

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {await self._token_source()}"
        yield request


def create_ssl_context(url: str, ca: str) -> ssl.SSLContext:
    """Return an SSL context that trusts the system's certificate authorities and those in the file ``ca``.

    Without TLS, the context has no authorities, because loading them is slow. Raises :class:`InvalidInputError` if the
    file cannot be read or has no certificates.
    """
    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if ca:
        _load_authorities(context, Path(ca))
    return context


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Add the certificates (PEM) in the file ``path`` to ``context``.

    Raises :class:`InvalidInputError` if the file cannot be read or has no certificates.
    """
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"Cannot read certificates from {escape_text(str(path))}.", "Use a file in PEM format."
        ) from error


def unreachable_error(error: Exception, endpoint: Endpoint) -> ServerUnreachableError:
    """Convert an httpx error. The result's ``reach`` states whether the server may have received the request."""
    if isinstance(error, httpx.ConnectError) and _find_tls_failure(error):
        return ServerUnreachableError(
            f"The certificate of {endpoint.name} is not trusted ({escape_text(_find_tls_failure(error))}).",
            Hint.of(HintCode.TRUST_CERTIFICATE),
            reach=DeliveryCertainty.UNTRUSTED,
        )
    if isinstance(error, httpx.InvalidURL):
        return ServerUnreachableError(
            f"Cannot send the request to {endpoint.name}{describe_cause(error)}.",
            "Check the address of the server and the arguments.",
            reach=DeliveryCertainty.NOT_POSSIBLE,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError | httpx.UnsupportedProtocol):
        return ServerUnreachableError(
            f"Cannot reach {endpoint.name}{describe_cause(error)}.",
            "Open the workspace again; the process that owned it has exited."
            if endpoint.socket
            else "Check that the server is running and reachable.",
            reach=DeliveryCertainty.NOT_SENT,
        )
    if isinstance(error, httpx.PoolTimeout):
        return ServerUnreachableError(
            f"Too many requests to {endpoint.name} at the same time.", "Try again.", reach=DeliveryCertainty.BUSY
        )
    if isinstance(error, httpx.TimeoutException):
        return ServerUnreachableError(
            f"{endpoint.name} did not respond in time.",
            "Try again, or check the process named in the file `lock` next to the socket: it is busy or hangs."
            if endpoint.socket
            else "Try again.",
        )
    return ServerUnreachableError(f"Connection to {endpoint.name} lost{describe_cause(error)}.", "Try again.")


def describe_cause(error: Exception) -> str:
    """Return the error's message in parentheses, to append to a sentence; empty if there is no message."""
    return f" ({escape_text(str(error), 200)})" if str(error) else ""


def _find_tls_failure(error: BaseException | None) -> str:
    """Return what is wrong with the server's certificate; empty if the error has another cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""


@cache
def default_ssl_context() -> ssl.SSLContext:
    """Return httpx's default SSL context, cached because loading the authorities takes longer than a request."""
    return httpx.create_ssl_context()
