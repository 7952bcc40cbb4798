"""A server's event stream, which is resumed after a lost connection without missing events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import msgspec

from sealyard.client.http.errors import RetryLaterError, unexpected_server_error
from sealyard.client.http.requests import RequestSender, query_params
from sealyard.client.http.sse import ServerSentEvent, parse_events
from sealyard.client.http.transport import Request
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.events import Event

_CURSOR_EVENT = "Cursor"
"""Type of the first event in a stream. The id of this event is the cursor at which the stream starts."""

_Events: type[Event] = Event  # type: ignore[assignment]


class EventStream:
    """Reads the server's events, and reconnects whenever the connection is lost."""

    def __init__(self, sender: RequestSender) -> None:
        self._sender = sender

    async def events(self, after: int | None) -> AsyncGenerator[Event, None]:
        """Yield the events after the cursor ``after``, or future events if it is None.

        The iterator never ends. Raises only errors that a retry cannot resolve.
        """
        async with contextlib.aclosing(self._read_stream(after)) as items:
            async for item in items:
                if not isinstance(item, int):
                    yield item

    async def cursor(self) -> int:
        """Return the cursor of the newest event."""
        async with contextlib.aclosing(self._read_stream(None)) as items:
            async for item in items:
                if isinstance(item, int):
                    return item
        raise AssertionError

    async def _read_stream(self, after: int | None) -> AsyncGenerator[Event | int, None]:
        """Yield the events. If ``after`` is None, first yield the cursor at which the stream starts."""
        cursor = after
        backoff = self._sender.new_endless_backoff()
        while True:
            try:
                async with self._sender.stream(_build_events_request(cursor)) as stream:
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
        except JSON_ERRORS as error:
            raise unexpected_server_error(self._sender.server) from error


def _build_events_request(cursor: int | None) -> Request:
    return Request(
        method="GET", path="/events", query=query_params(after=cursor), headers={"Accept": "text/event-stream"}
    )
