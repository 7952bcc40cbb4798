"""Forwards requests from a standby to the active server, over mutual TLS and without buffering bodies."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import httpx

from sealyard.client.http.transport import KEEPALIVE_SECONDS, describe_cause
from sealyard.model.errors import UsageError
from sealyard.server.cluster.active_server import ActiveServer, Target
from sealyard.server.cluster.body_stream import BodyStream, ClientDisconnectedError
from sealyard.server.cluster.certificates import ClusterCertificates
from sealyard.server.cluster.exchange import Exchange, Outcome
from sealyard.server.cluster.headers import NOT_ACTIVE, add_caller, is_end_to_end
from sealyard.server.cluster.metrics import ClusterMetrics
from sealyard.server.http.request_log import REQUEST_ID_HEADER, current_request

CONNECT_SECONDS = 3.0
"""Timeout for a connection to the active server, with its TLS handshake."""

PROBE_SECONDS = 2.0
"""Timeout for finding out whether a server is active."""

REPLACED_SECONDS = 1.0
"""Time for which a server that was replaced may still answer a request that it has received."""

MAX_POOLED_BODY_BYTES = 1 << 20
"""Maximum size of a body that is sent on a pooled connection. Others need one of their own; see :class:`BodyStream`."""

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=KEEPALIVE_SECONDS)
_NO_POOL = httpx.Limits(max_connections=None, max_keepalive_connections=0)
_FORWARD_TIMEOUT = {"connect": CONNECT_SECONDS, "read": None, "write": None, "pool": None}
_PROBE_TIMEOUT = dict.fromkeys(("connect", "read", "write", "pool"), PROBE_SECONDS)

_NOT_SENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class _Connections(NamedTuple):
    """Connections with the same certificates: pooled ones, and those for one large body each."""

    pool: httpx.AsyncHTTPTransport
    single: httpx.AsyncHTTPTransport


class Forwarder:
    """Connections to the active server."""

    def __init__(self, certificates: ClusterCertificates, metrics: ClusterMetrics) -> None:
        self._certificates = certificates
        self._metrics = metrics
        self._connections = [self._create_connections()]
        self._stopping = asyncio.Event()

    def reload_certificates(self) -> None:
        """Use the certificates that were loaded again for new connections."""
        self._connections.append(self._create_connections())

    def end_event_streams(self) -> None:
        """End the streams of events, which would otherwise delay the end of this server."""
        self._stopping.set()

    async def close(self) -> None:
        for connections in self._connections:
            await connections.pool.aclose()
            await connections.single.aclose()

    async def probe(self, target: Target) -> str:
        """Return why a server does not answer requests; empty if it is active."""
        request = httpx.Request("GET", f"{target.url}/healthz", extensions={"timeout": _PROBE_TIMEOUT})
        try:
            response = await self._connections[-1].pool.handle_async_request(request)
            await response.aread()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"it cannot be reached{describe_cause(error)}"
        return "" if response.status_code == httpx.codes.OK else "it is not active yet"

    async def forward(self, exchange: Exchange, active_server: ActiveServer, target: Target) -> Outcome:
        """Forward a request, and return how that ended. Ends it if the client disconnects or another server takes over.

        Raises :class:`UsageError` if the request is invalid or its body is received too slowly.
        """
        exchange.begin_attempt()
        relay = asyncio.create_task(self._relay(exchange, target))
        disconnected = asyncio.create_task(exchange.wait_disconnected())
        replaced = asyncio.create_task(_wait_replaced(active_server, target))
        stopped = asyncio.create_task(self._wait_stopped(exchange))
        tasks = {relay, disconnected, replaced, stopped}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel_all(tasks)
        outcome = relay.result() if not relay.cancelled() else _outcome_of_cancelled(disconnected)
        self._metrics.count_forwarded(outcome.value)
        return outcome

    async def _relay(self, exchange: Exchange, target: Target) -> Outcome:
        start = time.monotonic()
        try:
            response = await self._send(exchange, target)
        except _NOT_SENT_ERRORS:
            return Outcome.NOT_STARTED
        except httpx.LocalProtocolError as error:
            raise UsageError("Invalid header field.", "Send header fields as RFC 9110 describes them.") from error
        except httpx.HTTPError:
            return Outcome.LOST
        except ClientDisconnectedError:
            return Outcome.FINISHED
        try:
            if NOT_ACTIVE.decode() in response.headers:
                return Outcome.NOT_STARTED
            self._metrics.observe_latency(time.monotonic() - start)
            await _relay_response(exchange, response)
        except httpx.HTTPError:
            return Outcome.LOST
        finally:
            await response.aclose()
        return Outcome.FINISHED

    async def _send(self, exchange: Exchange, target: Target) -> httpx.Response:
        connections = self._connections[-1]
        if not exchange.has_body:
            return await connections.pool.handle_async_request(_build_request(exchange, target))
        body = BodyStream(exchange)
        request = _build_request(exchange, target, body)
        if exchange.body_length is not None and exchange.body_length <= MAX_POOLED_BODY_BYTES:
            return await connections.pool.handle_async_request(request)
        request.extensions["trace"] = body.trace
        return await connections.single.handle_async_request(request)

    async def _wait_stopped(self, exchange: Exchange) -> None:
        """Wait until this server stops, and the response is a stream of events."""
        await self._stopping.wait()
        await exchange.event_stream_started.wait()

    def _create_connections(self) -> _Connections:
        context = self._certificates.client_context
        return _Connections(
            httpx.AsyncHTTPTransport(verify=context, limits=_LIMITS, trust_env=False),
            httpx.AsyncHTTPTransport(verify=context, limits=_NO_POOL, trust_env=False),
        )


def _outcome_of_cancelled(disconnected: asyncio.Task[None]) -> Outcome:
    """Return the outcome of a request that was ended before its response: nothing is left to do without a client."""
    return Outcome.LOST if disconnected.cancelled() else Outcome.FINISHED


def _build_request(exchange: Exchange, target: Target, body: BodyStream | None = None) -> httpx.Request:
    scope = exchange.scope
    query = scope["query_string"]
    path = scope["raw_path"] + (b"?" + query if query else b"")
    headers = [(name, value) for name, value in scope["headers"] if is_end_to_end(scope["headers"], name)]
    headers = [(name, value) for name, value in headers if name not in (REQUEST_ID_HEADER, b"expect")]
    headers.append((REQUEST_ID_HEADER, current_request.get().encode()))
    return httpx.Request(
        scope["method"],
        target.url,
        headers=add_caller(headers, scope),
        content=body,
        extensions={"timeout": _FORWARD_TIMEOUT, "target": path},
    )


async def _relay_response(exchange: Exchange, response: httpx.Response) -> None:
    """Send a response to the client, each chunk of its body as it arrives."""
    raw_headers = [(name.lower(), value) for name, value in response.headers.raw]
    # The listener of this server adds its own date, and the log of its requests their id.
    own_headers = (b"date", REQUEST_ID_HEADER)
    headers = [each for each in raw_headers if is_end_to_end(raw_headers, each[0]) and each[0] not in own_headers]
    await exchange.send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:
        await exchange.send({"type": "http.response.body", "body": chunk, "more_body": True})
    await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_replaced(active_server: ActiveServer, target: Target) -> None:
    """Wait until another server has been active for a moment, so that no response of ``target`` will follow."""
    await active_server.wait_replaced(target)
    await asyncio.sleep(REPLACED_SECONDS)


async def _cancel_all(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
