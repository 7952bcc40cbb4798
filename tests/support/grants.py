"""Use grants as a client without any credentials does."""

from __future__ import annotations

import httpx

from sealyard.model.grants import Grant
from tests.support.limits import TIMEOUT


def put_object(grant: Grant, content: bytes, *, without: str = "") -> int:
    """Send the content and return the status. ``without``: a header that is left out."""
    headers = {name: value for name, value in grant.headers if name != without}
    return _send("PUT", grant.url, headers, content).status_code


def get_object(grant: Grant, **headers: str) -> httpx.Response:
    return _send("GET", grant.url, headers, b"")


def _send(method: str, url: str, headers: dict[str, str], content: bytes) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:
        return client.request(method, url, headers=headers, content=content)
