"""Pagination of lists: the parameters ``size`` and ``cursor``, and response headers that link to the next page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from litestar import Request, Response
from litestar.params import QueryParameter

from sealyard.server.api.wire import next_page_url

T = TypeVar("T")

MAX_PAGE_SIZE = 10_000
"""Maximum number of items in a response. Operations documented to return all items return this many by default."""

CLIENT_PAGE_SIZE = 1000
"""Maximum number of items that the engine returns in one call."""

Size = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE_SIZE, description="maximum number of items")]
OptionalSize = Annotated[
    int | None,
    QueryParameter(ge=1, le=MAX_PAGE_SIZE, description="maximum number of items; by default 10,000, for /task 100"),
]
Cursor = Annotated[str | None, QueryParameter(description="X-SE-CURSOR of the previous page")]


def paginated_response(
    request: Request[Any, Any, Any], items: Sequence[T], cursor: str | None, total: int | None = None
) -> Response[list[T]]:
    """Return a response with ``items`` as a JSON array.

    ``cursor``: cursor of the next page, sent in the headers ``X-SE-CURSOR`` and ``Link``; None on the last page.
    ``total``: number of items on all pages, sent in the header ``X-SE-TOTAL``; None if it is unknown.
    """
    headers: dict[str, str] = {}
    if cursor is not None:
        headers["X-SE-CURSOR"] = cursor
        headers["Link"] = f'<{next_page_url(str(request.url), cursor)}>; rel="next"'
    if total is not None:
        headers["X-SE-TOTAL"] = str(total)
    return Response(list(items), headers=headers)
