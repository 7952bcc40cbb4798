"""Protection against server-side request forgery: by default, messages can be sent only to public addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from sealyard.model.errors import PermissionDeniedError, ServerUnreachableError
from sealyard.model.webhook_url import WebhookUrl

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Function that returns the IP addresses of a host and port, preferred ones first.

Raises :class:`ServerUnreachableError` if they cannot be resolved.
"""

RESOLVE_TIMEOUT = 10.0
"""Seconds to wait for the addresses of a host name."""

# Networks that are not public, although `is_global` is true for them in some versions of Python.
_NON_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598)
        "168.63.129.16/32",  # Azure platform, internal only
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")  # the only range of IPv6 addresses allocated for global unicast
_NON_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, including Teredo, which maps to IPv4 addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which maps to IPv4 addresses
        "3fff::/20",  # documentation (RFC 9637)
    )
)


def is_public_address(address: str) -> bool:
    """Return whether an IP address is public. IPv6 addresses that embed an IPv4 address never count as public."""
    ip = ip_address(address)
    if ip.is_multicast or ip.is_reserved or not ip.is_global:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NON_PUBLIC_V4)
    return ip in _PUBLIC_V6 and not any(ip in network for network in _NON_PUBLIC_V6)


async def resolve_allowed(url: WebhookUrl, resolve: Resolve, *, allow_private: bool, allow_http: bool) -> Sequence[str]:
    """Resolve the host of ``url``, and return its addresses if all of them are allowed.

    The caller must connect to one of these addresses, because a second lookup could return others. Raises
    :class:`PermissionDeniedError` if the URL or any address is not allowed (a mixture of allowed and other addresses
    indicates an attack), and :class:`ServerUnreachableError` if the host name cannot be resolved.
    """
    if url.scheme != "https" and not (allow_http or allow_private):
        raise PermissionDeniedError("URL not allowed: https is required.", "Use an https URL.")
    addresses = await resolve(url.host, url.port)
    if not addresses:
        raise ServerUnreachableError("The host name has no address.")
    if not allow_private and not all(is_public_address(address) for address in addresses):
        raise PermissionDeniedError(
            "Address not allowed: it is loopback, link-local, private or otherwise internal.",
            "The setting allow_private_webhooks allows such addresses.",
        )
    return addresses


async def resolve_with_system(host: str, port: int) -> Sequence[str]:
    """Resolve a host name with the operating system's resolver; see :data:`Resolve`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise ServerUnreachableError("Cannot resolve the host name.") from None
    return [str(address[0]) for *_, address in entries]
