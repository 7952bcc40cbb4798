"""Bodies of requests as streams of bytes, no larger than is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException

from sealyard.model.errors import ConnectionLostError, TooLargeError


def body(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    """The body piece by piece; the handler lifts the framework's own limit.

    Raises :class:`TooLargeError` at once where more than ``limit`` bytes are announced, or while it streams as soon
    as there are more, and :class:`ConnectionLostError` where the caller goes away in the middle.
    """
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    return _pieces(request, limit)


def too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"At most {limit:,} bytes are taken here.", "Split it, or ask who runs the server for more.")


async def _pieces(request: Request[Any, Any, Any], limit: int) -> AsyncIterator[bytes]:
    length = 0
    try:
        async for piece in request.stream():
            length += len(piece)
            if length > limit:
                raise too_large(limit)
            yield piece
    except InternalServerException as error:
        raise ConnectionLostError("The body broke off.", "Go on from where it broke off.") from error
