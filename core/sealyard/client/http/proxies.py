"""Find the proxy for a server in the environment: HTTPS_PROXY, ALL_PROXY and NO_PROXY.

httpx reads these variables as well, but it creates a transport for each proxy that is set, whether or not the request
uses it, and fails for IPv6 addresses in brackets and networks in NO_PROXY.
"""

from __future__ import annotations

import ipaddress
import re
from importlib.util import find_spec
from urllib.request import getproxies

import httpx

from sealyard.model.errors import DeliveryCertainty, ServerUnreachableError
from sealyard.model.safe_text import escape_text

HTTPS_PORT = 443
MAX_PORT = 65535
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[^]]*)\]|(?P<host>[^:]*))(?::(?P<port>[0-9]+))?")


def find_proxy(url: str) -> httpx.Proxy | None:
    """Return the proxy for an https URL, or None if the server is to be reached directly.

    Raises :class:`ServerUnreachableError` if the proxy cannot be used.
    """
    variables = getproxies()
    server = httpx.URL(url)
    proxy_url = variables.get("https") or variables.get("all")
    names = (server.host, server.raw_host.decode("ascii"))  # they differ if the name has other letters than ASCII
    if not proxy_url or any(is_excluded(name, server.port or HTTPS_PORT, variables.get("no", "")) for name in names):
        return None
    variable = "HTTPS_PROXY" if variables.get("https") else "ALL_PROXY"
    return _parse_proxy(proxy_url if "://" in proxy_url else f"http://{proxy_url}", variable, server.host)


def is_excluded(host: str, port: int, no_proxy: str) -> bool:
    """Return whether ``no_proxy`` (the value of NO_PROXY) contains a server.

    The entries are separated by commas or spaces. An entry is ``*``, an IP address, a network (``10.0.0.0/8``,
    ``fe80::/10``) or a domain, which includes its subdomains; with a leading dot, it includes only these. A scheme
    before it or a port after it are optional. Invalid entries match nothing.
    """
    return any(_matches(entry, host.rstrip(".").lower(), port) for entry in re.split(r"[,\s]+", no_proxy.lower()))


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    scheme, separator, location = entry.rpartition("://")
    if separator and scheme not in ("https", "all"):
        return False
    if (network := _parse_network(location)) is not None:
        return _is_in_network(host, network)
    parts = _HOST_AND_PORT.fullmatch(location)
    if parts is None or (parts["port"] and int(parts["port"]) != port):
        return False
    name = (parts["ipv6"] or parts["host"] or "").rstrip(".").removeprefix("*")
    if (network := _parse_network(name)) is not None:
        return _is_in_network(host, network)
    return bool(name) and (host == name or host.endswith(name if name.startswith(".") else f".{name}"))


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network ``text``, or that of a single IP address. Returns None if it is neither."""
    try:
        return ipaddress.ip_network(re.sub(r"^\[([^]]*)\](/[0-9]+)?$", r"\1\2", text), strict=False)
    except ValueError:
        return None


def _is_in_network(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]) in network
    except ValueError:
        return False


def _parse_proxy(url: str, variable: str, host: str) -> httpx.Proxy:
    scheme = escape_text(url.partition("://")[0], 20)
    invalid_address_error = _unusable_proxy_error(
        variable, host, f"{scheme}://… is not the address of an HTTP or SOCKS 5 proxy"
    )
    try:
        proxy = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        raise invalid_address_error from None
    if not proxy.url.host or (proxy.url.port or 0) > MAX_PORT:
        raise invalid_address_error
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise _unusable_proxy_error(variable, host, "support for SOCKS is not installed (`pip install 'httpx[socks]'`)")
    return proxy


def _unusable_proxy_error(variable: str, host: str, reason: str) -> ServerUnreachableError:
    """Return the error for a proxy that cannot be used. It does not contain the URL, which may contain a password."""
    return ServerUnreachableError(
        f"Cannot use the proxy in {variable}: {reason}.",
        f"Correct {variable}, or add {escape_text(host)} to NO_PROXY to connect directly.",
        reach=DeliveryCertainty.NOT_POSSIBLE,
    )
