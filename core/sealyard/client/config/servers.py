"""Server addresses."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

SERVER_VARIABLE = "SEALYARD_SERVER"
TENANT_VARIABLE = "SEALYARD_TENANT"
CA_VARIABLE = "SEALYARD_CA"
TOKEN_VARIABLE = "SEALYARD_TOKEN"  # noqa: S105 - the name of an environment variable, not a secret


def parse_server_url(text: str) -> str:
    """Return ``text`` as a base URL without a trailing slash. The default scheme is https.

    Raises :class:`UsageError` if ``text`` is not the address of a server, or if it is an http URL of another machine:
    the token would be sent unencrypted.
    """
    url_parts = _split_base_url(text if "://" in text else f"https://{text}")
    if url_parts is None or url_parts.scheme not in ("https", "http"):
        raise UsageError(
            f"Invalid server address {escape_text(text, 100)!r}.", "Use an address like https://seal.example:8443."
        )
    if url_parts.scheme == "http" and not _is_loopback(url_parts.hostname or ""):
        raise UsageError(
            f"The connection to {escape_text(text, 100)} is not encrypted: tokens could be intercepted.",
            "Use https; http is allowed only for a server on this machine.",
        )
    return f"{url_parts.scheme}://{url_parts.netloc}{url_parts.path.rstrip('/').removesuffix('/api/v1')}"


def _split_base_url(url: str) -> SplitResult | None:
    """Return the parts of ``url``, or None if it is not a base URL with a valid host and port.

    A base URL has no credentials, query or fragment.
    """
    try:
        url_parts = urlsplit(url)
        is_base_url = (
            url_parts.username is None and url_parts.password is None and not url_parts.query and not url_parts.fragment
        )
        return url_parts if is_base_url and url_parts.hostname and url_parts.port != 0 else None
    except ValueError:
        return None


def environment_token(server: str, environ: Mapping[str, str]) -> str:
    """Return the token in the environment, or an empty string if there is none for the server with the URL ``server``.

    If the environment also names a server, the token belongs to that server, and must not be sent to another one.
    """
    token_server = environ.get(SERVER_VARIABLE)
    if token_server and parse_server_url(token_server) != parse_server_url(server):
        return ""
    return environ.get(TOKEN_VARIABLE, "")


def is_secure_url(url: str) -> bool:
    """Return whether a URL uses https, or http to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
