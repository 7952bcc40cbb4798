"""Requests and their answers as those see them who keep count: told of each once it is over."""

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

REQUEST_ID = b"x-request-id"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

UNMATCHED_PATH = "unmatched"
"""The template of paths that lead nowhere. Whoever writes them is free in that, and must not make us keep count."""

MAX_PATH_LENGTH = 300
"""Characters that are kept of one."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

current_request: ContextVar[str] = ContextVar("current_request", default="")
"""The id of the request that is being answered; empty outside of any."""


class RequestRecord(FrozenStruct, frozen=True, kw_only=True):
    """``template`` is the path with its parameters' names; ``path`` is without its query.

    ``status``: 0 where there was no answer. ``began``: seconds until the answer began, ``seconds``: until it ended.
    ``received`` and ``sent``: bytes of bodies. ``tenant`` and ``subject`` are empty where nobody known asked.
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


class AuthenticatedCaller(Protocol):
    """What authentication stores as ``caller`` in a request's state."""

    @property
    def tenant(self) -> str: ...
    @property
    def subject(self) -> str: ...


class RequestLogMiddleware:
    """An application around which each exchange is measured, and given an id that the answer names too."""

    def __init__(self, app: ASGIApp, *observers: Observer) -> None:
        self._app = app
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        measured = _RequestTimer(scope, receive, send)
        named = current_request.set(measured.id)
        try:
            await self._app(scope, measured.receive, measured.send)
        finally:
            current_request.reset(named)
            exchange = measured.exchange()
            for observe in self._observers:
                observe(exchange)


class _RequestTimer:
    """One exchange while it goes on."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self.id = _request_id(scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start = time.monotonic()
        self._began: float | None = None
        self._status = 0
        self._received = 0
        self._sent = 0

    async def receive(self) -> ReceiveMessage:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._began = time.monotonic() - self._start
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID, self.id.encode())]
        elif message["type"] == "http.response.body":
            self._sent += len(message.get("body", b""))
        await self._send(message)

    def exchange(self) -> RequestRecord:
        scope = self._scope
        seconds = time.monotonic() - self._start
        caller: AuthenticatedCaller | None = scope.get("state", {}).get("caller")
        return RequestRecord(
            id=self.id,
            method=scope["method"] if scope["method"] in METHODS else "OTHER",
            template=scope.get("path_template") or UNMATCHED_PATH,
            path=escape_text(scope["path"], MAX_PATH_LENGTH),
            status=self._status,
            time_to_first_byte=seconds if self._began is None else self._began,
            seconds=seconds,
            received=self._received,
            sent=self._sent,
            tenant=caller.tenant if caller is not None else "",
            subject=caller.subject if caller is not None else "",
        )


def _request_id(scope: HTTPScope) -> str:
    """The one that a proxy in front gave, where it looks like one; else a new one."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == REQUEST_ID), "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)
