"""Fetch small public documents over HTTP, such as the configuration of an identity provider."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httpx

from sealyard.client.http.proxies import find_proxy
from sealyard.client.http.transport import default_ssl_context, describe_cause
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.safe_text import escape_text


async def fetch_document(url: str, *, within: float = 5.0, max_bytes: int = 1024 * 1024) -> bytes:
    """Return the content of the document at ``url``.

    ``within`` limits the duration of the whole request (seconds), ``max_bytes`` the size of the body (bytes). Redirects
    are not followed, because they could lead to an unencrypted connection. Raises :class:`ServerUnreachableError` if
    either limit is exceeded or the status is not 200.
    """
    try:
        async with (
            asyncio.timeout(within),
            _create_document_client(url) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != HTTPStatus.OK:
                raise ServerUnreachableError(f"{escape_text(url)} returned status {response.status_code}.")
            body = await _read_limited(response, max_bytes)
    except (TimeoutError, httpx.TimeoutException):
        raise ServerUnreachableError(f"{escape_text(url)} did not respond in time.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerUnreachableError(f"Cannot reach {escape_text(url)}{describe_cause(error)}.") from None
    if body is None:
        raise ServerUnreachableError(f"The response of {escape_text(url)} has more than {max_bytes} bytes.")
    return body


def _create_document_client(url: str) -> httpx.AsyncClient:
    # Use proxies for TLS only: they could read unencrypted requests.
    proxy = find_proxy(url) if url.startswith("https:") else None
    headers = {"Accept-Encoding": "identity"}
    return httpx.AsyncClient(
        verify=default_ssl_context(), proxy=proxy, trust_env=False, headers=headers, follow_redirects=False
    )


async def _read_limited(response: httpx.Response, max_bytes: int) -> bytes | None:
    """Return the whole body without decoding it, or None if it is longer than ``max_bytes``."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            return None
    return bytes(body)
