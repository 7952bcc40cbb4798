"""HTTP requests as others make them, behind functions of our own: the one place that knows the HTTP library."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from functools import cache

import httpx

from sealyard.model.errors import ConnectionLostError
from sealyard.model.safe_text import safe_text
from sealyard.model.value import Value

MOST_ANSWERED = 4096
"""Bytes of an answer's body that are read, where only a word of explanation is expected."""

# It logs whole URLs, and those of links and webhooks are secrets.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Answer(Value, frozen=True, kw_only=True):
    """``retryAfter`` as it was sent (RFC 9110 §10.2.3), empty where it was not; ``body``: its first bytes, raw."""

    status: int
    retry_after: str
    body: bytes


async def post_pinned(
    url: str,
    address: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    connect_seconds: float = 5.0,
    answer_seconds: float = 15.0,
    trust: ssl.SSLContext | None = None,
) -> Answer:
    """POSTs to the very IP ``address``; ``url`` names host, certificate and path, and is not resolved again.

    Neither redirects nor proxies are followed. ``trust``: whom to believe certificates, the usual ones where
    it is None. Raises :class:`ConnectionLostError`, which does not repeat the URL.
    """
    timeout = httpx.Timeout(answer_seconds, connect=connect_seconds)
    client = httpx.AsyncClient(verify=trust or _usual_trust(), timeout=timeout, trust_env=False, follow_redirects=False)
    try:
        # The library's limit for an answer begins anew with each byte.
        async with asyncio.timeout(connect_seconds + answer_seconds), client:
            response = await client.send(_pinned(client, url, address, headers, body), stream=True)
            start = await _beginning(response)
    except (TimeoutError, httpx.TimeoutException):
        raise ConnectionLostError("It did not answer in time.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectionLostError(f"It cannot be reached ({safe_text(str(error), 200)}).") from None
    return Answer(status=response.status_code, retry_after=response.headers.get("Retry-After", ""), body=start)


def _pinned(
    client: httpx.AsyncClient, url: str, address: str, headers: Mapping[str, str], body: bytes
) -> httpx.Request:
    named = httpx.URL(url)
    return client.build_request(
        "POST",
        named.copy_with(host=address),
        headers={**headers, "Host": named.netloc.decode("ascii"), "Accept-Encoding": "identity"},
        content=body,
        extensions={"sni_hostname": named.host},
    )


async def _beginning(response: httpx.Response) -> bytes:
    start = b""
    async for chunk in response.aiter_raw():
        start += chunk
        if len(start) >= MOST_ANSWERED:
            break
    await response.aclose()
    return start[:MOST_ANSWERED]


@cache
def _usual_trust() -> ssl.SSLContext:
    """Made once: reading the authorities' certificates takes longer than a request."""
    return httpx.create_ssl_context()
