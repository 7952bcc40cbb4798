"""Send requests to a server, decode the responses, and retry where that is safe.

It is safe to retry reads, changes that certainly did not reach the server, and changes that the server recognizes when
they are repeated. For all other changes, the error states that the server may have processed them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

import msgspec

from sealyard.client.delivery import delivery_attempt
from sealyard.client.http.errors import RetryLaterError, raise_for_status, unexpected_server_error
from sealyard.client.http.object_store import ObjectStoreConnection
from sealyard.client.http.status import ConnectionMonitor
from sealyard.client.http.transport import Connection, Request, Response, ResponseStream
from sealyard.concurrency.backoff import Backoff, RetryDelays
from sealyard.model.base import JSON_ERRORS
from sealyard.model.clock import Clock
from sealyard.model.errors import DeliveryCertainty, NotFoundError, SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text

T = TypeVar("T")

RecoverCallback = Callable[[], Awaitable[None]]
"""Awaited when no process listens on the Unix socket.

Returns once a process listens, or raises the error that prevents it.
"""


TEMPORARY_REDIRECT = 307

RETRY_DELAYS = RetryDelays.exponential(0.1, 5.0, jitter=(0.5, 1.0))


class RequestBackoff(Backoff):
    """The delays between the attempts of one call."""

    blocking_error: SealyardError | None = None
    """Known reason why the next attempt will fail as well, reported instead of the error of the last attempt."""

    def reset(self) -> None:
        super().reset()
        self.blocking_error = None


class RequestSender:
    """Sends requests over one connection. A call is retried for up to ``retry_timeout`` seconds."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        monitor: ConnectionMonitor,
        *,
        retry_timeout: float,
        recover: RecoverCallback | None,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._monitor = monitor
        self._retry_timeout = retry_timeout
        self._recover = recover
        self.server = connection.endpoint.name
        self.object_store = ObjectStoreConnection(connection.endpoint, connection.timeouts)

    def new_backoff(self) -> RequestBackoff:
        return RequestBackoff(RETRY_DELAYS, self._clock, timeout=self._retry_timeout)

    def new_endless_backoff(self) -> RequestBackoff:
        return RequestBackoff(RETRY_DELAYS, self._clock)

    # ---- one call, with retries

    async def get(self, path: str, response_type: type[T], query: Mapping[str, str] | None = None) -> T:
        return self.decode(await self.read(path, query), response_type)

    async def read(
        self, path: str, query: Mapping[str, str] | None = None, *, backoff: RequestBackoff | None = None
    ) -> Response:
        return await self.send_retrying(
            Request(method="GET", path=path, query=query or {}), repeatable=True, backoff=backoff
        )

    async def send(self, method: str, path: str, body: object, response_type: type[T]) -> T:
        """Send a request that changes something, and decode the response.

        The request is not repeated once it may have reached the server.
        """
        return self.decode(await self.send_retrying(json_call(method, path, body)), response_type)

    async def delete(self, path: str, query: Mapping[str, str] | None = None) -> None:
        await self.send_retrying(Request(method="DELETE", path=path, query=query or {}))

    async def send_retrying(
        self, request: Request, *, repeatable: bool = False, backoff: RequestBackoff | None = None
    ) -> Response:
        """Send a request, with retries, until the server responds. Return the response if its status is successful.

        ``repeatable``: the request may be sent again even if the server may have processed it. Raises the error that
        the server reports, or :class:`ServerUnreachableError` if there is no response before the backoff times out.
        """
        backoff = backoff or self.new_backoff()
        while True:
            try:
                return await self.send_once(request)
            except ServerUnreachableError as error:
                if is_outcome_unknown(error) and not repeatable:
                    raise _outcome_unknown_error(error) from error
                await self.wait(backoff, error)
            except RetryLaterError as later:
                await self.wait(backoff, later)

    # ---- one attempt

    async def send_once(self, request: Request) -> Response:
        """Send a request without retries and return the response if its status is successful.

        Raises the same errors as :meth:`send_retrying`, and :class:`RetryLaterError`.
        """
        with contextlib.nullcontext() if request.method == "GET" else delivery_attempt(_has_not_arrived):
            with self._record_failures():
                response = await self._connection.send(request)
            self._monitor.mark_alive()
            raise_for_status(response, self.server, self._clock.now())
        return response

    @contextlib.asynccontextmanager
    async def stream(self, request: Request, *, allow_redirect: bool = False) -> AsyncIterator[ResponseStream]:
        """Send a request without retries and stream the response. Raises the same errors as :meth:`send_once`.

        ``allow_redirect``: return a response with the status 307, without following it.
        """
        with self._record_failures():
            async with self._connection.stream(request) as stream:
                self._monitor.mark_alive()
                is_redirect = allow_redirect and stream.status == TEMPORARY_REDIRECT
                if stream.status >= 300 and not is_redirect:  # noqa: PLR2004
                    raise_for_status(await stream.read(), self.server, self._clock.now())
                yield stream

    def mark_alive(self) -> None:
        """Record in the connection monitor that data arrived on a stream."""
        self._monitor.mark_alive()

    async def pause(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def now(self) -> datetime:
        return self._clock.now()

    async def wait(self, backoff: RequestBackoff, error: ServerUnreachableError | RetryLaterError) -> None:
        """Wait before the next attempt. Raises the failure if a retry is useless or would exceed the retry timeout."""
        if isinstance(error, RetryLaterError):
            await backoff.wait(error.error, error.seconds)
            return
        if error.is_permanent:
            raise error
        await backoff.wait(backoff.blocking_error or error)
        if error.reach is DeliveryCertainty.NOT_SENT and self._recover is not None:
            backoff.blocking_error = await _await_recovery(self._recover())

    def decode(self, response: Response, kind: type[T]) -> T:
        """Decode the JSON body of a response. Raises :class:`ServerUnreachableError` if it does not match ``kind``."""
        try:
            return msgspec.json.decode(response.body, type=kind)
        except JSON_ERRORS as error:
            raise unexpected_server_error(self.server) from error

    @contextlib.contextmanager
    def _record_failures(self) -> Iterator[None]:
        try:
            yield
        except ServerUnreachableError:
            self._monitor.mark_failed()
            raise


async def _await_recovery(recovery: Awaitable[None]) -> SealyardError | None:
    """Await ``recovery`` and return the error that it raises, or None.

    The caller still makes the next attempt: another process may have started to listen.
    """
    try:
        await recovery
    except SealyardError as error:
        return error
    return None


def _has_not_arrived(error: Exception) -> bool:
    """Return whether an error proves that the server has not processed the request."""
    if isinstance(error, ServerUnreachableError):
        return not is_outcome_unknown(error)
    return isinstance(error, RetryLaterError)


def is_outcome_unknown(error: ServerUnreachableError) -> bool:
    """Return whether the server may have processed the request."""
    return error.reach is DeliveryCertainty.UNKNOWN


def _outcome_unknown_error(error: ServerUnreachableError) -> ServerUnreachableError:
    return ServerUnreachableError(error.message, "Check before you retry: the request may have succeeded.")


def json_call(
    method: str,
    path: str,
    body: object,
    *,
    headers: Mapping[str, str] | None = None,
    read_timeout: float | None = None,
) -> Request:
    """Return a request with ``body`` encoded as JSON."""
    return Request(
        method=method,
        path=path,
        headers={"Content-Type": "application/json", **(headers or {})},
        content=msgspec.json.encode(body),
        read_timeout=read_timeout,
    )


def path_segment(text: str) -> str:
    """Return ``text`` escaped as one path segment of a URL.

    Raises :class:`NotFoundError` for text that cannot be a path segment and therefore cannot name anything.
    """
    if text in ("", ".", ".."):
        raise NotFoundError(f"{escape_text(text)!r} not found.", "Check the name.")
    return quote(text, safe="")


def query_params(**values: str | int | bool | datetime | None) -> dict[str, str]:
    """Return ``values`` as query parameters. Values that are None, empty or False are left out."""
    return {
        name: _format_query_value(value)
        for name, value in values.items()
        if not (value is None or value is False or value == "")
    }


def _format_query_value(value: str | int | bool | datetime | None) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "true" if value is True else str(value)


class ApiCalls:
    """Base class of the groups of API calls that make up the HTTP client."""

    def __init__(self, sender: RequestSender) -> None:
        self._sender = sender
