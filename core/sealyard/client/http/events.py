"""A server's events: one after the other, over connections that may break, without missing any."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator

import msgspec

from sealyard.client.http.errors import RetryLaterError, unexpected_server
from sealyard.client.http.requests import RequestSender, query_params
from sealyard.client.http.sse import Comment, ServerSentEvent, parse_events
from sealyard.client.http.transport import Request
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.events import Event

_CURSOR = re.compile(r"cursor (\d{1,18})")
_Events: type[Event] = Event  # type: ignore[assignment]


class EventStream:
    def __init__(self, calls: RequestSender) -> None:
        self._calls = calls

    async def events(self, after: int | None) -> AsyncGenerator[Event, None]:
        """From the cursor on, or from now; for ever. Raises only what no other try can change."""
        async with contextlib.aclosing(self._read(after)) as items:
            async for item in items:
                if not isinstance(item, int):
                    yield item

    async def cursor(self) -> int:
        """Where the events of now begin."""
        async with contextlib.aclosing(self._read(None)) as items:
            async for item in items:
                if isinstance(item, int):
                    return item
        raise AssertionError

    async def _read(self, after: int | None) -> AsyncGenerator[Event | int, None]:
        """Events, and the cursor that the first connection begins from where none was given."""
        cursor = after
        tries = self._calls.new_endless_backoff()
        while True:
            try:
                async with self._calls.stream(_call(cursor)) as stream:
                    async for item in parse_events(stream.chunks()):
                        tries.reset()
                        self._calls.mark_alive()
                        if isinstance(item, ServerSentEvent):
                            cursor = int(item.id) if item.id.isdigit() else cursor
                            yield self._event(item)
                        elif cursor is None and (cursor := _cursor(item)) is not None:
                            yield cursor
                lost: ServerUnreachableError | RetryLaterError = ServerUnreachableError(
                    f"{self._calls.server} ended its events."
                )
            except (ServerUnreachableError, RetryLaterError) as error:
                lost = error
            await self._calls.wait(tries, lost)

    def _event(self, item: ServerSentEvent) -> Event:
        try:
            return msgspec.json.decode(item.data, type=_Events)
        except msgspec.MsgspecError as error:
            raise unexpected_server(self._calls.server) from error


def _call(cursor: int | None) -> Request:
    return Request(
        method="GET", path="/events", query=query_params(after=cursor), headers={"Accept": "text/event-stream"}
    )


def _cursor(item: Comment) -> int | None:
    found = _CURSOR.fullmatch(item.text)
    return int(found[1]) if found else None
