"""The stream of Server-Sent Events with the changes that the caller may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
from litestar import Controller, get
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from sealyard.model.errors import SealyardError
from sealyard.model.events import Event, TaskProgressed
from sealyard.server.auth.caller import Caller, CallerDependency

KEEPALIVE_SECONDS = 10.0
"""Interval of keep-alive comments. Clients consider a connection lost if they receive nothing for much longer."""

_encode = msgspec.json.Encoder().encode


class EventController(Controller):
    path = "/events"
    tags = ["events"]

    @get("/", summary="Stream events", media_type="text/event-stream")
    async def events(
        self,
        caller: CallerDependency,
        after: Annotated[
            int | None, QueryParameter(ge=0, le=2**53, description="cursor of the last known event")
        ] = None,
        last_event_id: Annotated[
            str | None, HeaderParameter(name="Last-Event-ID", description="same as `after`")
        ] = None,
    ) -> Stream:
        if after is None and last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
            after = int(last_event_id[:16])
        return Stream(
            stream_events(caller, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def stream_events(caller: Caller, after: int | None) -> AsyncGenerator[str, None]:
    """Yield an event `Cursor`, then the events after the cursor ``after``, or from now on.

    Ends with the engine, or when the caller's token is no longer valid. Clients reconnect with their last cursor.
    """
    cursor = await caller.client.cursor() if after is None else after
    yield f'id: {cursor}\nevent: Cursor\ndata: {{"cursor": {cursor}}}\n\n'
    events = caller.client.events(cursor)
    next_event: asyncio.Future[Event] = asyncio.ensure_future(anext(events))
    keepalive_at = _next_keepalive()
    try:
        while True:
            done, _ = await asyncio.wait({next_event}, timeout=keepalive_at - _now())
            if _now() >= keepalive_at:
                await caller.revalidate()
                keepalive_at = _next_keepalive()
                yield ": keepalive\n\n"
            if done:
                yield format_sse(next_event.result())
                next_event = asyncio.ensure_future(anext(events))
    except (StopAsyncIteration, SealyardError):
        return
    finally:
        next_event.cancel()
        await asyncio.gather(next_event, return_exceptions=True)
        await events.aclose()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _next_keepalive() -> float:
    """Return the time of the next keep-alive. It is independent of events, as each one also revalidates the token."""
    return _now() + KEEPALIVE_SECONDS


def format_sse(event: Event) -> str:
    """Format an event (HTML standard, section 9.2). Events that are not stored have no id to resume from."""
    id_line = "" if isinstance(event, TaskProgressed) else f"id: {event.cursor}\n"
    return f"{id_line}event: {type(event).__name__}\ndata: {_encode(event).decode()}\n\n"
