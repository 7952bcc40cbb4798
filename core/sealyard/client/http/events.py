"""A server's event stream, resumed after lost connections without missing events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import msgspec

from sealyard.client.http.errors import RetryLaterError, unexpected_server
from sealyard.client.http.requests import RequestSender, query_params
from sealyard.client.http.sse import ServerSentEvent, parse_events
from sealyard.client.http.transport import Request
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.events import Event

_CURSOR_EVENT = "Cursor"
"""The first event of a stream. Its id is the cursor from which the stream starts."""

_Events: type[Event] = Event  # type: ignore[assignment]


class EventStream:
    """Reads the server's events and reconnects as often as necessary."""

    def __init__(self, sender: RequestSender) -> None:
        self._sender = sender

    async def events(self, after: int | None) -> AsyncGenerator[Event, None]:
        """Yield events after the cursor ``after``, or from now if it is None.

        Never ends. Raises only errors that a retry cannot resolve.
        """
        async with contextlib.aclosing(self._read(after)) as items:
            async for item in items:
                if not isinstance(item, int):
                    yield item

    async def cursor(self) -> int:
        """Return the current cursor, after which future events follow."""
        async with contextlib.aclosing(self._read(None)) as items:
            async for item in items:
                if isinstance(item, int):
                    return item
        raise AssertionError

    async def _read(self, after: int | None) -> AsyncGenerator[Event | int, None]:
        """Yield events and, if ``after`` is None, also the cursor from which the first connection starts."""
        cursor = after
        backoff = self._sender.new_endless_backoff()
        while True:
            try:
                async with self._sender.stream(_events_request(cursor)) as stream:
                    async for item in parse_events(stream.chunks()):
                        backoff.reset()
                        self._sender.mark_alive()
                        if not isinstance(item, ServerSentEvent):
                            continue
                        is_first = cursor is None
                        cursor = int(item.id) if item.id.isdigit() else cursor
                        if item.event != _CURSOR_EVENT:
                            yield self._decode(item)
                        elif is_first and cursor is not None:
                            yield cursor
                failure: ServerUnreachableError | RetryLaterError = ServerUnreachableError(
                    f"{self._sender.server} closed the event stream."
                )
            except (ServerUnreachableError, RetryLaterError) as error:
                failure = error
            await self._sender.wait(backoff, failure)

    def _decode(self, item: ServerSentEvent) -> Event:
        try:
            return msgspec.json.decode(item.data, type=_Events)
        except msgspec.MsgspecError as error:
            raise unexpected_server(self._sender.server) from error


def _events_request(cursor: int | None) -> Request:
    return Request(
        method="GET", path="/events", query=query_params(after=cursor), headers={"Accept": "text/event-stream"}
    )
