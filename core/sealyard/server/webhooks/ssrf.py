"""Which addresses a webhook may have: those of the public internet, unless whoever runs the server allows others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from sealyard.model.errors import PermissionDeniedError, ServerUnreachableError
from sealyard.model.webhook_url import WebhookUrl

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses of a name and port, the best one first. Raises :class:`ServerUnreachableError`."""

RESOLVE_SECONDS = 10.0

# Those that Python's `is_global` lets through, in this version or another.
_NON_PUBLIC_V4 = tuple(
    IPv4Network(each)
    for each in (
        "100.64.0.0/10",  # carriers' own (RFC 6598)
        "168.63.129.16/32",  # Azure's platform, from inside only
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")  # all of IPv6 that is given out as global unicast
_NOT_OUTSIDE_6 = tuple(
    IPv6Network(each)
    for each in (
        "2001::/23",  # protocol assignments, Teredo among them, which leads to IPv4 addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which leads to IPv4 addresses
        "3fff::/20",  # documentation (RFC 9637)
    )
)


def is_public_address(address: str) -> bool:
    """Whether an IP address is one of the public internet; an IPv4 address wrapped into an IPv6 one never is."""
    ip = ip_address(address)
    if ip.is_multicast or ip.is_reserved or not ip.is_global:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in each for each in _NON_PUBLIC_V4)
    return ip in _PUBLIC_V6 and not any(ip in each for each in _NOT_OUTSIDE_6)


async def resolve_allowed(url: WebhookUrl, resolve: Resolve, *, allow_private: bool, allow_http: bool) -> Sequence[str]:
    """Where to connect for ``url``: to one of these, without asking for the name again.

    Raises :class:`PermissionDeniedError` where even one of its addresses is not allowed: who names both is up to
    something. Raises :class:`ServerUnreachableError` where the name leads nowhere.
    """
    if url.scheme != "https" and not (allow_http or allow_private):
        raise PermissionDeniedError("It is not https.", "Without it anybody on the way can read and answer.")
    found = await resolve(url.host, url.port)
    if not found:
        raise ServerUnreachableError("Its name leads to no address.")
    if not allow_private and not all(is_public_address(each) for each in found):
        raise PermissionDeniedError(
            "It leads to a loopback, link-local, private or otherwise inner address.",
            "Whoever runs the server may allow those.",
        )
    return found


async def resolve_with_system(host: str, port: int) -> Sequence[str]:
    """As the system's resolver says: :data:`Resolve`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise ServerUnreachableError("Its name cannot be resolved.") from None
    return [str(address[0]) for *_, address in found]
