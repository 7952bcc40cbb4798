"""Handling of HEAD requests: like GET, but without a response body (RFC 9110, section 9.3.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_STATE_KEY = "is_head"
_METHOD_NOT_ALLOWED = 405


class HeadMiddleware:
    """Middleware that handles HEAD with the GET handler of the path if it has no HEAD handler of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        response = _HeadResponse(send)
        await self._app(scope, receive, response.send)
        if response.is_method_rejected:
            await self._handle_as_get(scope, receive, _HeadResponse(send, is_get=True))

    async def _handle_as_get(self, scope: Scope, receive: Receive, response: _HeadResponse) -> None:
        get_scope = cast(Scope, {**scope, "method": "GET", "state": {**scope["state"], _STATE_KEY: True}})
        try:
            await self._app(get_scope, receive, response.send)
        finally:
            # For the outer middleware, which logs the path template and the caller.
            scope.update({**get_scope, "method": "HEAD"})  # type: ignore[typeddict-item]


class _HeadResponse:
    """Wrapper around ``send`` that passes on the headers of a response and discards its body.

    Suppresses a 405 response to the original HEAD request, which is then handled like GET.
    """

    def __init__(self, send: Send, *, is_get: bool = False) -> None:
        self._send = send
        self._is_get = is_get
        self.is_method_rejected = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._is_get:
            self.is_method_rejected = message["status"] == _METHOD_NOT_ALLOWED
        if self.is_method_rejected:
            return
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def is_head(request: Request[Any, Any, Any]) -> bool:
    """Return whether a GET handler received a HEAD request. Handlers of streams then return an empty stream."""
    return bool(request.scope["state"].get(_STATE_KEY))


async def empty_body() -> AsyncGenerator[bytes, None]:
    return
    yield b""
