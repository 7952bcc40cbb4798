"""HTTP with a server, through the network or a Unix socket: the one module that knows httpx."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

import httpx

from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import DeliveryCertainty, InvalidInputError, ServerUnreachableError
from sealyard.model.safe_text import escape_text

API = "/api/v1"
KEEPALIVE_SECONDS = 4.0
"""Shorter than servers keep an idle connection, so that they do not close one just as it is used again."""

MOST_ANSWERED = 4096
"""Bytes of an answer's body that are read, where only a word of explanation is expected."""

# It tells of every request, at the level that this program's log is written at.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Timeouts(FrozenStruct, frozen=True, kw_only=True):
    """In seconds. ``connect``: until somebody listens. ``answer``: from the request to its answer.

    ``transfer``: between two pieces of a body, in either direction. ``waiting``: until one of at most ``connections``
    is free.
    """

    connect: float = 5.0
    read: float = 30.0
    transfer: float = 30.0
    pool: float = 30.0
    connections: int = 20


class Endpoint(SecretStruct, frozen=True, kw_only=True):
    """Which server, and what is said of who asks.

    ``url``: such as ``https://seal.example:8443``; with ``socket`` the Unix socket of that path is spoken to instead,
    ``called`` in messages. ``ca``: a file of certificates (PEM) to be trusted besides the system's. ``subject`` counts
    on a socket only.
    """

    SHOWN: ClassVar[tuple[str, ...]] = ("url", "socket", "tenant", "subject")

    url: str = ""
    socket: str = ""
    display_name: str = ""
    ca: str = ""
    token: str = ""
    tenant: str = ""
    subject: str = ""

    @property
    def name(self) -> str:
        return escape_text(self.display_name or self.socket or self.url)

    @property
    def headers(self) -> dict[str, str]:
        said = {
            "Authorization": f"Bearer {self.token}" if self.token else "",
            "X-SE-TENANT": self.tenant,
            "X-SE-SUBJECT": self.subject if self.socket else "",
        }
        return {"User-Agent": "sealyard", **{name: value for name, value in said.items() if value}}


class Request(SecretStruct, frozen=True, kw_only=True):
    """One request. ``path`` begins below :data:`API`; ``answer_within`` (seconds) is for what takes its time."""

    SHOWN: ClassVar[tuple[str, ...]] = ("method", "path")

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    content: bytes | AsyncIterable[bytes] = b""
    answer_within: float | None = None


class Response(SecretStruct, frozen=True, kw_only=True):
    """Whatever the ``status``; names of headers in lower case."""

    SHOWN: ClassVar[tuple[str, ...]] = ("status",)

    status: int
    headers: Mapping[str, str]
    body: bytes


class ResponseStream:
    """An answer whose body comes bit by bit."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def chunks(self, size: int | None = None) -> AsyncIterator[bytes]:
        """As they come, or gathered to ``size`` bytes."""
        return self._response.aiter_raw(size)

    async def whole(self) -> Response:
        return Response(status=self.status, headers=self.headers, body=await self._response.aread())


class Connection:
    """Connections to one place. Raises :class:`ServerUnreachableError`, and judges no status."""

    def __init__(self, place: Endpoint, limits: Timeouts | None = None) -> None:
        self.place = place
        self._limits = limits or Timeouts()
        # A connection works on the event loop that it was made on only.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def send(self, call: Request) -> Response:
        async with self._sent(call, call.answer_within or self._limits.read) as response:
            return await ResponseStream(response).whole()

    @contextlib.asynccontextmanager
    async def stream(self, call: Request) -> AsyncIterator[ResponseStream]:
        """What breaks while the body is read is raised as what breaks before."""
        async with self._sent(call, self._limits.transfer) as response:
            yield ResponseStream(response)

    async def close(self) -> None:
        """Those of this event loop; those of others end with their loops."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    @contextlib.asynccontextmanager
    async def _sent(self, call: Request, read: float) -> AsyncIterator[httpx.Response]:
        limits = self._limits
        timeout = httpx.Timeout(connect=limits.connect, read=read, write=limits.transfer, pool=limits.pool)
        try:
            async with self._client().stream(
                call.method,
                call.path,
                params=dict(call.query),
                headers=dict(call.headers),
                content=call.content,
                timeout=timeout,
            ) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _unreachable(error, self.place) from error

    def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._made()
        return client

    def _made(self) -> httpx.AsyncClient:
        place, trust = self.place, _trust(self.place)
        pool = httpx.Limits(max_connections=self._limits.connections, keepalive_expiry=KEEPALIVE_SECONDS)
        return httpx.AsyncClient(
            base_url=f"{'http://localhost' if place.socket else place.url}{API}",
            headers=place.headers,
            verify=trust,
            limits=pool,
            transport=httpx.AsyncHTTPTransport(uds=place.socket, verify=trust, limits=pool) if place.socket else None,
            # A proxy sees nothing of what goes through TLS, but all of what does not.
            trust_env=place.url.startswith("https:"),
        )


def _trust(place: Endpoint) -> ssl.SSLContext:
    """The system's authorities and the place's own; nobody where no TLS is spoken."""
    if place.socket or not place.url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if place.ca:
        _trust_too(context, Path(place.ca))
    return context


def _trust_too(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"{escape_text(str(path))} is no file of certificates that can be read.", "Name one in PEM: --ca FILE."
        ) from error


def _unreachable(error: Exception, place: Endpoint) -> ServerUnreachableError:
    if isinstance(error, httpx.ConnectError) and _tls_failure(error):
        return ServerUnreachableError(
            f"The certificate of {place.name} is not trusted ({escape_text(_tls_failure(error))}).",
            "See that it is the right server; name the authority that vouches for it: sealyard login --ca FILE.",
            reach=DeliveryCertainty.UNTRUSTED,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError | httpx.UnsupportedProtocol):
        return ServerUnreachableError(
            f"{place.name} does not answer{_reason(error)}.",
            "Whoever opens the workspace next lets others in again."
            if place.socket
            else "See that the server runs and that the network leads there.",
            reach=DeliveryCertainty.NOT_SENT,
        )
    if isinstance(error, httpx.PoolTimeout):
        return ServerUnreachableError(
            f"Too much is asked of {place.name} at once.", "Try again.", reach=DeliveryCertainty.BUSY
        )
    if isinstance(error, httpx.TimeoutException):
        return ServerUnreachableError(
            f"{place.name} did not answer in time.",
            "The process that holds the workspace is busy, or hangs; the file `lock` beside the socket names it."
            if place.socket
            else "Try again.",
        )
    return ServerUnreachableError(f"The connection with {place.name} broke{_reason(error)}.", "Try again.")


def _reason(error: Exception) -> str:
    return f" ({escape_text(str(error), 200)})" if str(error) else ""


def _tls_failure(error: BaseException | None) -> str:
    """What was wrong with the certificate; empty where it was not that."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""


# ---- to an address that was checked before


class PinnedResponse(FrozenStruct, frozen=True, kw_only=True):
    """``retry_after`` as it was sent (RFC 9110 §10.2.3), empty where it was not; ``body``: its first bytes, raw."""

    status: int
    retry_after: str
    body: bytes


async def post_pinned(
    url: str,
    address: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    connect_seconds: float = 5.0,
    answer_seconds: float = 15.0,
    trust: ssl.SSLContext | None = None,
) -> PinnedResponse:
    """POSTs to the very IP ``address``; ``url`` names host, certificate and path, and is not resolved again.

    Neither redirects nor proxies are followed. ``trust``: whom to believe certificates, the usual ones where
    it is None. Raises :class:`ServerUnreachableError`, which does not repeat the URL.
    """
    timeout = httpx.Timeout(answer_seconds, connect=connect_seconds)
    client = httpx.AsyncClient(verify=trust or _usual_trust(), timeout=timeout, trust_env=False, follow_redirects=False)
    try:
        # The library's limit for an answer begins anew with each byte.
        async with asyncio.timeout(connect_seconds + answer_seconds), client:
            response = await client.send(_pinned(client, url, address, headers, body), stream=True)
            start = await _beginning(response)
    except (TimeoutError, httpx.TimeoutException):
        raise ServerUnreachableError("It did not answer in time.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerUnreachableError(f"It cannot be reached ({escape_text(str(error), 200)}).") from None
    return PinnedResponse(status=response.status_code, retry_after=response.headers.get("Retry-After", ""), body=start)


def _pinned(
    client: httpx.AsyncClient, url: str, address: str, headers: Mapping[str, str], body: bytes
) -> httpx.Request:
    named = httpx.URL(url)
    return client.build_request(
        "POST",
        named.copy_with(host=address),
        headers={**headers, "Host": named.netloc.decode("ascii"), "Accept-Encoding": "identity"},
        content=body,
        extensions={"sni_hostname": named.host},
    )


async def _beginning(response: httpx.Response) -> bytes:
    start = b""
    async for chunk in response.aiter_raw():
        start += chunk
        if len(start) >= MOST_ANSWERED:
            break
    await response.aclose()
    return start[:MOST_ANSWERED]


async def fetch_document(url: str, *, within: float = 5.0, most: int = 1024 * 1024) -> bytes:
    """The body of a document at ``url``, of at most ``most`` bytes, within so many seconds.

    Redirects are not followed: they could lead out of TLS. Raises :class:`ServerUnreachableError` for any other answer.
    """
    try:
        async with asyncio.timeout(within), _document_client(url) as client, client.stream("GET", url) as response:
            if response.status_code != HTTPStatus.OK:
                raise ServerUnreachableError(f"{escape_text(url)} answers {response.status_code}.")
            body = await _within(response, most)
    except (TimeoutError, httpx.TimeoutException):
        raise ServerUnreachableError(f"{escape_text(url)} did not answer in time.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerUnreachableError(f"{escape_text(url)} cannot be reached{_reason(error)}.") from None
    if body is None:
        raise ServerUnreachableError(f"{escape_text(url)} answers with more than {most} bytes.")
    return body


def _document_client(url: str) -> httpx.AsyncClient:
    # As for a Connection: a proxy may stand where it sees nothing.
    trusted = url.startswith("https:")
    plain = {"Accept-Encoding": "identity"}
    return httpx.AsyncClient(verify=_usual_trust(), trust_env=trusted, headers=plain, follow_redirects=False)


async def _within(response: httpx.Response, most: int) -> bytes | None:
    """The whole body, as it came; None where it is longer."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)


@cache
def _usual_trust() -> ssl.SSLContext:
    """Made once: reading the authorities' certificates takes longer than a request."""
    return httpx.create_ssl_context()
