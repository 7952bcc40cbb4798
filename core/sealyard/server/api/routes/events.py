"""Events as Server-Sent Events: what the caller may know of, from a cursor on, and a beat now and then."""

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
"""Without a word for much longer, a client may take the line for dead."""

_encode = msgspec.json.Encoder().encode


class EventController(Controller):
    path = "/events"
    tags = ["events"]

    @get("/", summary="Events, as they happen", media_type="text/event-stream")
    async def events(
        self,
        caller: CallerDependency,
        after: Annotated[int | None, QueryParameter(ge=0, le=2**53, description="the cursor to go on behind")] = None,
        last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", description="as `after`")] = None,
    ) -> Stream:
        if after is None and last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
            after = int(last_event_id[:16])
        return Stream(
            stream_events(caller, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def stream_events(caller: Caller, after: int | None) -> AsyncGenerator[str, None]:
    """Ends when the engine does, or when the caller's token does; the client comes again with its cursor."""
    cursor = await caller.client.cursor() if after is None else after
    yield f'id: {cursor}\nevent: Cursor\ndata: {{"cursor": {cursor}}}\n\n'
    events = caller.client.events(cursor)
    waiting: asyncio.Future[Event] = asyncio.ensure_future(anext(events))
    beat = _next_beat()
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=beat - _now())
            if _now() >= beat:
                await caller.revalidate()
                beat = _next_beat()
                yield ": beat\n\n"
            if done:
                yield format_sse(waiting.result())
                waiting = asyncio.ensure_future(anext(events))
    except (StopAsyncIteration, SealyardError):
        return
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await events.aclose()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _next_beat() -> float:
    """Comes however much there is to tell: with each, it is asked whether the caller may still hear it."""
    return _now() + KEEPALIVE_SECONDS


def format_sse(event: Event) -> str:
    """As the WHATWG's specification of event streams has it. What is not durable has no id to go on behind."""
    identity = "" if isinstance(event, TaskProgressed) else f"id: {event.cursor}\n"
    return f"{identity}event: {type(event).__name__}\ndata: {_encode(event).decode()}\n\n"
