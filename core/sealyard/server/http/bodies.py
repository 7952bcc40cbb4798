"""Bodies of requests as streams of bytes, no larger than is taken."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.enums import ScopeType
from litestar.exceptions import InternalServerException
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from sealyard.model.errors import ServerUnreachableError, TooLargeError


def limited_body(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    """The body piece by piece; the handler lifts the framework's own limit.

    Raises :class:`TooLargeError` at once where more than ``limit`` bytes are announced, or while it streams as soon
    as there are more, and :class:`ServerUnreachableError` where the caller goes away in the middle.
    """
    if (request.content_length or 0) > limit:
        raise body_too_large(limit)
    return _chunks(request, limit)


def body_too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"At most {limit:,} bytes are taken here.", "Split it, or ask who runs the server for more.")


async def _chunks(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    length = 0
    try:
        async for piece in request.stream():
            length += len(piece)
            if length > limit:
                raise body_too_large(limit)
            yield piece
    except InternalServerException as error:
        raise ServerUnreachableError("The body broke off.", "Go on from where it broke off.") from error


DRAIN_LIMIT = 1 << 20
"""Bytes of a body that are read for nobody, so that the connection can be used again."""

LINGER_TIMEOUT = 10.0
"""How long it is read on behind the answer: many a client looks for one only when it has sent all it has."""


class CloseUnreadBodyMiddleware:
    """An application around which a connection ends with its answer, where much of the body is still to come.

    A listener would read it to its end, before the next request: a refused file of many GiB, or one without an end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _BodyTracker(_declared_length(scope), receive, send)
        await self._app(scope, exchange.receive, exchange.send)


class _BodyTracker:
    """``left``: bytes of the body that are still to come."""

    def __init__(self, left: float, receive: Receive, send: Send) -> None:
        self._left = left
        self._receive = receive
        self._send = send
        self._cut = False

    async def receive(self) -> ReceiveMessage:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left = self._left - len(message["body"]) if message["more_body"] else 0
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._left > DRAIN_LIMIT:
            self._cut = True
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        if self._cut and message["type"] == "http.response.body" and not message["more_body"]:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        """A line that is cut while bytes come in takes the answer with it, where the client has not read it yet."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_TIMEOUT):
                while self._left and (await self.receive())["type"] == "http.request":
                    pass


def _declared_length(scope: Scope) -> float:
    """Bytes of the body; infinite where it comes in chunks and says nothing of its end."""
    if scope["type"] != ScopeType.HTTP:
        return 0
    headers = dict(scope["headers"])
    return math.inf if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))
