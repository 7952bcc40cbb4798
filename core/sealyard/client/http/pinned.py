"""Send POST requests to an IP address that was verified before, for webhooks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import httpx

from sealyard.client.http.transport import default_ssl_context
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.safe_text import escape_text

MAX_RESPONSE_BYTES = 4096
"""Maximum number of bytes that :func:`post_pinned` reads from the body, which is at most a short explanation."""


class PinnedResponse(FrozenStruct, frozen=True, kw_only=True):
    """Response to :func:`post_pinned`.

    ``retry_after`` is the raw header (RFC 9110 §10.2.3), empty if there was none; ``body`` holds the first
    :data:`MAX_RESPONSE_BYTES` bytes, not decoded.
    """

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
) -> PinnedResponse:
    """POST ``body`` to the IP address ``address``.

    ``url`` determines the Host header, the host name expected in the certificate, and the path; its host name is not
    resolved again. Redirects are not followed and proxies not used. ``trust`` replaces the default SSL context. Raises
    :class:`ServerUnreachableError`, with a message that does not contain the URL, if the request fails or times out.
    """
    timeout = httpx.Timeout(answer_seconds, connect=connect_seconds)
    client = httpx.AsyncClient(
        verify=trust or default_ssl_context(), timeout=timeout, trust_env=False, follow_redirects=False
    )
    try:
        # The read timeout of httpx restarts with every byte, so limit the whole request as well.
        async with asyncio.timeout(connect_seconds + answer_seconds), client:
            response = await client.send(_build_pinned_request(client, url, address, headers, body), stream=True)
            body_start = await _read_body_start(response)
    except (TimeoutError, httpx.TimeoutException):
        raise ServerUnreachableError("The server did not respond in time.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerUnreachableError(f"Cannot reach the server ({escape_text(str(error), 200)}).") from None
    return PinnedResponse(
        status=response.status_code, retry_after=response.headers.get("Retry-After", ""), body=body_start
    )


def _build_pinned_request(
    client: httpx.AsyncClient, url: str, address: str, headers: Mapping[str, str], body: bytes
) -> httpx.Request:
    target = httpx.URL(url)
    return client.build_request(
        "POST",
        target.copy_with(host=address),
        headers={**headers, "Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"},
        content=body,
        extensions={"sni_hostname": target.host},
    )


async def _read_body_start(response: httpx.Response) -> bytes:
    """Read at most :data:`MAX_RESPONSE_BYTES` bytes of the body and close the response."""
    body_start = b""
    async for chunk in response.aiter_raw():
        body_start += chunk
        if len(body_start) >= MAX_RESPONSE_BYTES:
            break
    await response.aclose()
    return body_start[:MAX_RESPONSE_BYTES]
