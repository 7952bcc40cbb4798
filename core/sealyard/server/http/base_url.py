"""The public base URL of the API, used in links and in the ``Location`` header."""

from __future__ import annotations

from typing import Any

from litestar import Request


def public_base_url(request: Request[Any, Any, Any]) -> str:
    """Return the configured base URL or, if there is none, that of ``request``, without a trailing slash."""
    configured_url: str = request.app.state.public_url
    return configured_url or f"{request.url.scheme}://{request.url.netloc}"
