"""The body of a forwarded request, which ends early if the active server responds before its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpcore
from litestar.types import ReceiveMessage

from sealyard.server.cluster.exchange import Exchange

CHECK_SECONDS = 0.25
"""Interval at which an early response is looked for while the client sends nothing."""


class ClientDisconnectedError(Exception):
    """The client disconnected before it had sent the whole body."""


class BodyStream:
    """Iterates over the body of a request as the client sends it.

    httpx reads the response only after the body. So the body is ended with :class:`httpcore.WriteError` when a response
    arrives before, as if the server no longer accepted it; httpx then reads the response. This needs a connection of
    its own, which :meth:`trace` observes.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._connection: httpcore.AsyncNetworkStream | None = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Remember the connection; the extension ``trace`` of a request."""
        if event == "connection.start_tls.complete":
            self._connection = info["return_value"]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientDisconnectedError
            if message["body"]:
                yield message["body"]
            if not message["more_body"]:
                return

    async def _receive(self) -> ReceiveMessage:
        receiving = asyncio.ensure_future(self._exchange.receive())
        try:
            while True:
                if self._has_response():
                    raise httpcore.WriteError("the server has responded before the end of the body")
                done, _ = await asyncio.wait({receiving}, timeout=CHECK_SECONDS)
                if done:
                    return receiving.result()
        finally:
            receiving.cancel()

    def _has_response(self) -> bool:
        return self._connection is not None and bool(self._connection.get_extra_info("is_readable"))
