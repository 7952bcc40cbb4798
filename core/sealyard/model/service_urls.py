"""Checks of the base URLs of services: key providers, and object stores."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_base_url(url: str) -> bool:
    """Return whether ``url`` is the HTTP address of a server, without credentials, query and fragment."""
    try:
        parts = urlsplit(url)
        has_extra = "@" in parts.netloc or parts.query or parts.fragment or parts.port == 0
    except ValueError:
        return False
    return bool(parts.hostname) and parts.scheme in ("https", "http") and not has_extra


def is_protected_url(url: str) -> bool:
    """Return whether connections to a base URL are encrypted, or do not leave this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
