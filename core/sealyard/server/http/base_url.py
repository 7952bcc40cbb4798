"""Where the API is reached from outside: what links and places are made of."""

from __future__ import annotations

from typing import Any

from litestar import Request


def public_base_url(request: Request[Any, Any, Any]) -> str:
    """Without a slash at the end: the declared one, else as this request named it."""
    declared: str = request.app.state.public_url
    return declared or f"{request.url.scheme}://{request.url.netloc}"
