"""Measurement of requests for the log and the metrics."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from sealyard.model.base import FrozenStruct
from sealyard.model.safe_text import escape_text

REQUEST_ID_HEADER = b"x-request-id"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are recorded by name; all others are recorded as OTHER."""

UNMATCHED_PATH = "unmatched"
"""Template recorded for all unknown paths. With a metric for each path, clients could exhaust memory."""

MAX_PATH_LENGTH = 300
"""Maximum length of a recorded path in characters; longer paths are truncated."""

_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")

current_request: ContextVar[str] = ContextVar("current_request", default="")
"""Id of the request that is being handled; empty outside a request."""


class RequestRecord(FrozenStruct, frozen=True, kw_only=True):
    """Data about a finished request and its response.

    ``template``: path with parameter names instead of values. ``path``: path without the query. ``status``: 0 if there
    was no response. ``time_to_first_byte``: seconds until the response started; ``seconds``: until it ended.
    ``received`` and ``sent``: sizes of the request and response bodies in bytes. ``tenant`` and ``subject``: empty if
    the request was not authenticated.
    """

    id: str
    method: str
    template: str
    path: str
    status: int
    time_to_first_byte: float
    seconds: float
    received: int
    sent: int
    tenant: str
    subject: str


Observer = Callable[[RequestRecord], None]
"""Function that is called with the record of each finished request."""


class AuthenticatedCaller(Protocol):
    """The caller that authentication stores as ``caller`` in the state of a request."""

    @property
    def tenant(self) -> str: ...
    @property
    def subject(self) -> str: ...


class RequestLogMiddleware:
    """Middleware that measures each request and adds an ``X-Request-Id`` to the response.

    ``observers``: functions to call with the record of each finished request.
    """

    def __init__(self, app: ASGIApp, *observers: Observer) -> None:
        self._app = app
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        timer = _RequestTimer(scope, receive, send)
        reset_token = current_request.set(timer.id)
        try:
            await self._app(scope, timer.receive, timer.send)
        finally:
            current_request.reset(reset_token)
            record = timer.record()
            for observe in self._observers:
                observe(record)


class _RequestTimer:
    """Wrapper around ``receive`` and ``send`` that measures one request and adds its id to the response."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self.id = _request_id(scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start = time.monotonic()
        self._time_to_first_byte: float | None = None
        self._status = 0
        self._received_bytes = 0
        self._sent_bytes = 0

    async def receive(self) -> ReceiveMessage:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._time_to_first_byte = time.monotonic() - self._start
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER, self.id.encode())]
        elif message["type"] == "http.response.body":
            self._sent_bytes += len(message.get("body", b""))
        await self._send(message)

    def record(self) -> RequestRecord:
        scope = self._scope
        seconds = time.monotonic() - self._start
        caller: AuthenticatedCaller | None = scope.get("state", {}).get("caller")
        return RequestRecord(
            id=self.id,
            method=scope["method"] if scope["method"] in METHODS else "OTHER",
            template=scope.get("path_template") or UNMATCHED_PATH,
            path=escape_text(scope["path"], MAX_PATH_LENGTH),
            status=self._status,
            time_to_first_byte=seconds if self._time_to_first_byte is None else self._time_to_first_byte,
            seconds=seconds,
            received=self._received_bytes,
            sent=self._sent_bytes,
            tenant=caller.tenant if caller is not None else "",
            subject=caller.subject if caller is not None else "",
        )


def _request_id(scope: HTTPScope) -> str:
    """Return the id that a proxy assigned to the request, or a new id if there is no valid one."""
    proxy_id = next((value.decode("latin-1") for name, value in scope["headers"] if name == REQUEST_ID_HEADER), "")
    return proxy_id if _ID_PATTERN.fullmatch(proxy_id) else secrets.token_hex(8)
