"""Addresses of key services."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_settings import ProviderSettings


def check_endpoint(settings: ProviderSettings, option: str, url: str) -> None:
    """Raise :class:`KeyProviderError` if ``url`` is not the address of a server with an encrypted connection.

    http is allowed only for a server on this machine. The message never contains the address, which could contain a
    password by mistake.
    """
    try:
        parts = urlsplit(url)
        is_base_url = not ("@" in parts.netloc or parts.query or parts.fragment) and parts.port != 0
        host = parts.hostname if is_base_url else None
    except ValueError:
        host = None
    if not host or parts.scheme not in ("https", "http"):
        raise KeyProviderError(
            f"The option {option} of the key provider {settings.name} is not the URL of a server.",
            "Use an address like https://vault.example:8200.",
        )
    if parts.scheme == "http" and not _is_loopback(host):
        raise KeyProviderError(
            f"The connection of the key provider {settings.name} is not encrypted: credentials could be intercepted.",
            "Use https; http is allowed only for a server on this machine.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
