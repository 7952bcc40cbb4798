"""Request bodies: size limit, time limit, and handling of unread bodies."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.enums import ScopeType
from litestar.exceptions import InternalServerException
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from sealyard.model.errors import ServerUnreachableError, TooLargeError, UsageError


class BodyTimeoutError(UsageError):
    """The client sent the request body too slowly."""

    code = "request-timeout"


def limited_body(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    """Return the body as a stream of at most ``limit`` bytes. The route must disable the framework's own limit.

    Raises :class:`TooLargeError` immediately if the declared length exceeds ``limit``. The stream raises it as soon as
    more than ``limit`` bytes arrive. It also raises :class:`ServerUnreachableError`, the error for all lost
    connections, if the client disconnects before the end of the body.
    """
    if (request.content_length or 0) > limit:
        raise body_too_large(limit)
    return _read_chunks(request, limit)


def body_too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"Request body too large: at most {limit:,} bytes.",
        "Send less data, or ask the server's administrator to raise the limit.",
    )


async def _read_chunks(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    length = 0
    try:
        async for chunk in request.stream():
            length += len(chunk)
            if length > limit:
                raise body_too_large(limit)
            yield chunk
    except InternalServerException as error:
        raise ServerUnreachableError("Request body incomplete.", "Resume the upload.") from error


BODY_TIMEOUT = 20.0
"""Seconds allowed for receiving a request body, plus one second for every MIN_BODY_RATE bytes received."""

MIN_BODY_RATE = 500
"""Number of received bytes that extends BODY_TIMEOUT by one second, like MinRate in Apache's mod_reqtimeout."""

DRAIN_LIMIT = 1 << 20
"""Maximum number of unread bytes of a body that are read and discarded to keep the connection open."""

LINGER_TIMEOUT = 10.0
"""Seconds for which a body is read after the response. Many clients read a response only after sending the body."""


class BodyMiddleware:
    """Middleware that limits the time for a request body, and closes the connection if much of it was not read.

    Otherwise, uvicorn would read the rest of the body before the next request: many GiB of a rejected file, or an
    endless body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tracker = _BodyTracker(_declared_length(scope), receive, send)
        await self._app(scope, tracker.receive, tracker.send)


class _BodyTracker:
    """Wrapper around ``receive`` and ``send`` that limits the time for a body and tracks its unread bytes.

    Closes the connection after the response if too many bytes of the body are unread.
    """

    def __init__(self, unread_bytes: float, receive: Receive, send: Send) -> None:
        self._unread_bytes = unread_bytes
        self._receive = receive
        self._send = send
        self._is_closing = False
        self._is_timed_out = False
        self._remaining_seconds = BODY_TIMEOUT

    async def receive(self) -> ReceiveMessage:
        message = await (self._receive_in_time() if self._unread_bytes else self._receive())
        if message["type"] == "http.request":
            self._unread_bytes = self._unread_bytes - len(message["body"]) if message["more_body"] else 0
        return message

    async def _receive_in_time(self) -> ReceiveMessage:
        """Receive the next part of the body. Only the time spent waiting for the client counts towards the limit.

        Raises :class:`BodyTimeoutError` if the client sends too slowly.
        """
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._remaining_seconds):
                message = await self._receive()
        except TimeoutError:
            self._is_timed_out = True
            raise BodyTimeoutError("Request body too slow.", "Send it faster, or upload the file in parts.") from None
        self._remaining_seconds -= time.monotonic() - start
        if message["type"] == "http.request":
            self._remaining_seconds += len(message["body"]) / MIN_BODY_RATE
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and (self._is_timed_out or self._unread_bytes > DRAIN_LIMIT):
            self._is_closing = not self._is_timed_out
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        if self._is_closing and message["type"] == "http.response.body" and not message["more_body"]:
            await self._send({**message, "more_body": True})
            await self._discard_unread_body()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _discard_unread_body(self) -> None:
        """Read and discard the rest of the body, for at most LINGER_TIMEOUT.

        Closing a connection with unread data could discard the response in transit.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_TIMEOUT):
                while self._unread_bytes and (await self.receive())["type"] == "http.request":
                    pass


def _declared_length(scope: Scope) -> float:
    """Return the length of the body in bytes, or infinity if it is sent in chunks without a declared length."""
    if scope["type"] != ScopeType.HTTP:
        return 0
    headers = dict(scope["headers"])
    return math.inf if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))
