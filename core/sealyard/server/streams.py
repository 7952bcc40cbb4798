"""Bodies of requests as streams of bytes, no larger than is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException

from sealyard.model.errors import ServerUnreachableError, TooLargeError


def limited_body(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    """The body piece by piece; the handler lifts the framework's own limit.

    Raises :class:`TooLargeError` at once where more than ``limit`` bytes are announced, or while it streams as soon
    as there are more, and :class:`ServerUnreachableError` where the caller goes away in the middle.
    """
    if (request.content_length or 0) > limit:
        raise body_too_large(limit)
    return _chunks(request, limit)


def body_too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"At most {limit:,} bytes are taken here.", "Split it, or ask who runs the server for more.")


async def _chunks(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    length = 0
    try:
        async for piece in request.stream():
            length += len(piece)
            if length > limit:
                raise body_too_large(limit)
            yield piece
    except InternalServerException as error:
        raise ServerUnreachableError("The body broke off.", "Go on from where it broke off.") from error
