"""Downloads of task results: the complete result or a byte range, with an ETag for conditional requests."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from litestar.response import Stream

from sealyard.model.errors import ConflictError, SealyardError
from sealyard.model.results import content_disposition
from sealyard.model.tasks import Result, Task
from sealyard.server.http.head import empty_body

_RANGE_PATTERN = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

OCTET_STREAM = "application/octet-stream"


class RangeError(SealyardError):
    """The requested range is empty or outside the result."""

    code = "range"


@dataclass(frozen=True)
class RangeHeaders:
    """The range and conditional headers of a request (RFC 9110, sections 13 and 14)."""

    range: str | None
    if_range: str | None
    if_none_match: str | None

    def bounds(self, size: int, etag: str) -> tuple[int, int] | None:
        """Return the start and end (exclusive) of the requested range, or None for the complete result.

        Requests for several ranges or in other units get the complete result, as RFC 9110 allows. Raises
        :class:`RangeError` if the range is empty or outside the result. ``size``: size of the result in bytes.
        """
        match = _RANGE_PATTERN.fullmatch(self.range or "")
        if match is None or match[0] == "bytes=-" or self.if_range not in (None, etag):
            return None
        if not match[1]:
            start, end = max(0, size - int(match[2])), size
        else:
            start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
        if start >= end:
            raise RangeError("Range not satisfiable.", f"The result has {size:,} bytes.")
        return start, end


async def file_response(
    task: Task,
    request_headers: RangeHeaders,
    read: Callable[[int], AsyncGenerator[bytes, None]],
    on_sent: Callable[[int], Awaitable[None]],
    *,
    head_only: bool = False,
) -> Stream:
    """Return a response with the result of a task or with the requested range of the result.

    ``read``: yields the bytes of the result from an offset to the end. ``on_sent``: called after the last byte of the
    result has been sent, with the offset at which this response started. ``head_only``: whether to send only the
    headers. Raises :class:`RangeError` if the range is empty or outside the result, and the error from ``read`` if the
    first chunk cannot be read.
    """
    result = task.result
    if result is None or result.size is None or result.sha256 is None:
        # The task has no downloadable result: reading it raises the error that explains why.
        return Stream(await _read_first_chunk(read(0)), media_type=OCTET_STREAM)
    etag = f'"{result.sha256}"'
    headers = _result_headers(result, etag)
    # RFC 9110, section 14.2: HEAD ignores Range.
    bounds = None if head_only else request_headers.bounds(result.size, etag)
    start, end = bounds or (0, result.size)
    source = read(start)
    chunks = await _read_first_chunk(source)
    if request_headers.if_none_match == etag:
        # Answer 304 only after reading the first chunk, which raises an error if the link has expired: clients that
        # already have the result must receive this error too.
        await source.aclose()
        return Stream(empty_body(), status_code=304, headers=headers)
    headers["Content-Length"] = str(end - start)
    if head_only:
        await source.aclose()
        return Stream(empty_body(), headers=headers, media_type=OCTET_STREAM)
    body = _call_at_end(_take_bytes(chunks, end - start), partial(on_sent, start) if end == result.size else None)
    if bounds is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{result.size}"
    return Stream(body, status_code=206 if bounds is not None else 200, headers=headers, media_type=OCTET_STREAM)


def _result_headers(result: Result, etag: str) -> dict[str, str]:
    return {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-transform",
        "Content-Disposition": content_disposition(result.file_name),
        "X-Content-Type-Options": "nosniff",
    }


async def _read_first_chunk(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Read the first chunk immediately, and return a generator of all chunks.

    Errors are therefore raised before the response starts. Raises :class:`ConflictError` if there are no chunks.
    """
    try:
        first_chunk = await anext(chunks)
    except StopAsyncIteration:
        raise ConflictError("The result is empty.", "Submit the request again.") from None

    async def all_chunks() -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(chunks):
            yield first_chunk
            async for chunk in chunks:
                yield chunk

    return all_chunks()


async def _take_bytes(chunks: AsyncGenerator[bytes, None], length: int) -> AsyncGenerator[bytes, None]:
    """Yield the first ``length`` bytes of ``chunks``."""
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk[:length]
            length -= len(chunk)
            if length <= 0:
                return


async def _call_at_end(
    chunks: AsyncGenerator[bytes, None], on_end: Callable[[], Awaitable[None]] | None
) -> AsyncGenerator[bytes, None]:
    """Yield all chunks, then call ``on_end`` unless it is None."""
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk
    if on_end is not None:
        await on_end()
