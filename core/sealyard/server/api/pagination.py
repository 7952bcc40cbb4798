"""Lists in pages: what is asked by ``size`` and ``cursor``, and told in headers beside a plain array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from litestar import Request, Response
from litestar.params import QueryParameter

from sealyard.server.api.wire import next_page

T = TypeVar("T")

MAX_PAGE_SIZE = 1000

Size = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE_SIZE, description="how many at most")]
Cursor = Annotated[str | None, QueryParameter(description="where to go on: X-SE-CURSOR of the page before")]


def paginated_response(
    request: Request[Any, Any, Any], items: Sequence[T], cursor: str | None, total: int | None = None
) -> Response[list[T]]:
    """An array; ``X-SE-CURSOR`` and ``Link`` lead on where there is more, ``X-SE-TOTAL`` counts where it is known."""
    headers: dict[str, str] = {}
    if cursor is not None:
        headers["X-SE-CURSOR"] = cursor
        headers["Link"] = f'<{next_page(str(request.url), cursor)}>; rel="next"'
    if total is not None:
        headers["X-SE-TOTAL"] = str(total)
    return Response(list(items), headers=headers)
