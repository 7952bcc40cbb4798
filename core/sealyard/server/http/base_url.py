"""The public base URL of the API, used in links and locations."""

from __future__ import annotations

from typing import Any

from litestar import Request


def public_base_url(request: Request[Any, Any, Any]) -> str:
    """Return the configured base URL, or else that of ``request``, without a trailing slash."""
    configured: str = request.app.state.public_url
    return configured or f"{request.url.scheme}://{request.url.netloc}"
