"""Results as HTTP answers: whole or a range of them, with an ETag, and audited when the last byte has gone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from litestar.response import Stream

from sealyard.model.errors import ConflictError, SealyardError
from sealyard.model.tasks import Result, Task

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

OCTET_STREAM = "application/octet-stream"


class RangeError(SealyardError):
    """The range that is asked for lies outside the result."""

    code = "range"


@dataclass(frozen=True)
class RangeHeaders:
    """What a request's headers say of ranges (RFC 9110, sections 13 and 14)."""

    range: str | None
    if_range: str | None
    if_none_match: str | None

    def bounds(self, size: int, etag: str) -> tuple[int, int] | None:
        """First byte and the one behind the last; None for the whole. Raises :class:`RangeError`.

        Several ranges and other units are answered with the whole, as the RFC allows.
        """
        found = _RANGE.fullmatch(self.range or "")
        if found is None or found[0] == "bytes=-" or self.if_range not in (None, etag):
            return None
        if not found[1]:
            first, end = max(0, size - int(found[2])), size
        else:
            first, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if first >= end:
            raise RangeError("The range lies outside the result.", f"It has {size} bytes.")
        return first, end


async def file_response(
    task: Task,
    wanted: RangeHeaders,
    read: Callable[[int], AsyncGenerator[bytes, None]],
    sent: Callable[[int], Awaitable[None]],
) -> Stream:
    """``read``: the bytes from an offset on; ``sent`` is awaited when the last byte of the result has gone, with the
    offset of the first that went.

    Raises what ``read`` raises at its beginning, before anything is answered.
    """
    result = task.result
    if result is None or result.size is None or result.sha256 is None:
        # Says in the engine's own words why there is nothing.
        return Stream(await _with_first_chunk(read(0)), media_type=OCTET_STREAM)
    etag = f'"{result.sha256}"'
    headers = _headers(result, etag)
    bounds = wanted.bounds(result.size, etag)
    first, end = bounds or (0, result.size)
    source = read(first)
    items = await _with_first_chunk(source)
    if wanted.if_none_match == etag:
        # Only now: a link that has ended says so, whatever somebody has of its result.
        await source.aclose()
        return Stream(_nothing(), status_code=304, headers=headers)
    body = _then(_limited(items, end - first), partial(sent, first) if end == result.size else None)
    headers["Content-Length"] = str(end - first)
    if bounds is not None:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{result.size}"
    return Stream(body, status_code=206 if bounds is not None else 200, headers=headers, media_type=OCTET_STREAM)


def _headers(result: Result, etag: str) -> dict[str, str]:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", result.file_name) or "result"
    return {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-transform",
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
    }


async def _with_first_chunk(items: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes, after the first of them could be read."""
    try:
        first = await anext(items)
    except StopAsyncIteration:
        raise ConflictError("The result has no content.", "Ask for it again.") from None

    async def all_of_it() -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(items):
            yield first
            async for each in items:
                yield each

    return all_of_it()


async def _limited(items: AsyncGenerator[bytes, None], length: int) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(items):
        async for each in items:
            yield each[:length]
            length -= len(each)
            if length <= 0:
                return


async def _then(
    items: AsyncGenerator[bytes, None], sent: Callable[[], Awaitable[None]] | None
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(items):
        async for each in items:
            yield each
    if sent is not None:
        await sent()


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""
