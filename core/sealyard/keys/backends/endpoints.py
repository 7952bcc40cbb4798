"""Addresses of key services."""

from __future__ import annotations

from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_settings import ProviderSettings
from sealyard.model.service_urls import is_base_url, is_protected_url


def check_endpoint(settings: ProviderSettings, option: str, url: str) -> None:
    """Raise :class:`KeyProviderError` if ``url`` is not the address of a server with an encrypted connection.

    http is allowed only for a server on this machine. The message never contains the address, which could contain a
    password by mistake.
    """
    if not is_base_url(url):
        raise KeyProviderError(
            f"The option {option} of the key provider {settings.name} is not the URL of a server.",
            "Use an address like https://vault.example:8200.",
        )
    if not is_protected_url(url):
        raise KeyProviderError(
            f"The connection of the key provider {settings.name} is not encrypted: credentials could be intercepted.",
            "Use https; http is allowed only for a server on this machine.",
        )
