"""Route for the stream of Server-Sent Events about changes that the caller may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, get
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from sealyard.model.errors import SealyardError, UsageError
from sealyard.model.events import Event, TaskProgressed
from sealyard.server.auth.caller import Caller, CallerDependency
from sealyard.server.http.head import empty_body, is_head

KEEPALIVE_SECONDS = 10.0
"""Seconds between keep-alive comments. Clients consider a connection lost if they receive nothing for much longer."""

MAX_CURSOR = 2**53

_encode_json = msgspec.json.Encoder().encode


class EventController(Controller):
    """Endpoint for the event stream, which clients can resume after the last event they received."""

    path = "/events"
    tags = ["events"]

    @get("/", summary="Stream events", media_type="text/event-stream")
    async def events(
        self,
        request: Request[Any, Any, Any],
        caller: CallerDependency,
        after: Annotated[
            int | None, QueryParameter(ge=0, le=MAX_CURSOR, description="cursor of the last known event")
        ] = None,
        last_event_id: Annotated[
            str | None, HeaderParameter(name="Last-Event-ID", description="same as `after`")
        ] = None,
    ) -> Stream:
        if after is None and last_event_id:
            after = _parse_event_id(last_event_id)
        if is_head(request):
            content: AsyncGenerator[Any, None] = empty_body()
        else:
            # Known before the response starts, so that an error of the engine is a response of its own.
            content = stream_events(caller, await caller.client.cursor() if after is None else after)
        return Stream(
            content,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def stream_events(caller: Caller, cursor: int) -> AsyncGenerator[str, None]:
    """Yield a ``Cursor`` event with the starting cursor, then every later event.

    Also yields a keep-alive comment every KEEPALIVE_SECONDS. The stream ends when the engine stops or once the caller's
    token is no longer valid. Clients reconnect with the cursor of the last event they received.
    """
    yield f'id: {cursor}\nevent: Cursor\ndata: {{"cursor": {cursor}}}\n\n'
    events = caller.client.events(cursor)
    next_event: asyncio.Future[Event] = asyncio.ensure_future(anext(events))
    keepalive_at = _next_keepalive_time()
    try:
        while True:
            done, _ = await asyncio.wait({next_event}, timeout=keepalive_at - _loop_time())
            if _loop_time() >= keepalive_at:
                await caller.revalidate()
                keepalive_at = _next_keepalive_time()
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


def _parse_event_id(text: str) -> int:
    cursor = int(text[:20]) if text.isascii() and text.isdigit() else -1
    if not 0 <= cursor <= MAX_CURSOR:
        raise UsageError("Invalid Last-Event-ID.", "Use the id of the last event that you received, or omit it.")
    return cursor


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _next_keepalive_time() -> float:
    """Return the event loop time in seconds at which the next keep-alive comment is due.

    Events do not postpone keep-alive comments, because the caller's token is revalidated before each comment.
    """
    return _loop_time() + KEEPALIVE_SECONDS


def format_sse(event: Event) -> str:
    """Format an event as a Server-Sent Event (HTML standard, section 9.2).

    Progress events have no id: they are not stored, so a client cannot resume after them.
    """
    id_line = "" if isinstance(event, TaskProgressed) else f"id: {event.cursor}\n"
    return f"{id_line}event: {type(event).__name__}\ndata: {_encode_json(event).decode()}\n\n"
