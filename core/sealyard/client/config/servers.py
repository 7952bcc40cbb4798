"""Server addresses."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text


def parse_server_url(text: str) -> str:
    """Return ``text`` as a base URL without a trailing slash. The default scheme is https.

    Raises :class:`UsageError` if ``text`` is not the address of a server, or if it is an http URL of another machine:
    the token would be sent unencrypted.
    """
    split = _split(text if "://" in text else f"https://{text}")
    if split is None or split.scheme not in ("https", "http"):
        raise UsageError(
            f"Invalid server address {escape_text(text, 100)!r}.", "Use an address like https://seal.example:8443."
        )
    if split.scheme == "http" and not _is_loopback(split.hostname or ""):
        raise UsageError(
            f"The connection to {escape_text(text, 100)} is not encrypted: tokens could be intercepted.",
            "Use https; http is allowed only for a server on this machine.",
        )
    return f"{split.scheme}://{split.netloc}{split.path.rstrip('/').removesuffix('/api/v1')}"


def _split(url: str) -> SplitResult | None:
    """Return the parts of ``url``, or None if it is not a base URL with a valid host and port.

    A base URL has no credentials, query or fragment.
    """
    try:
        split = urlsplit(url)
        is_base_url = split.username is None and split.password is None and not split.query and not split.fragment
        return split if is_base_url and split.hostname and split.port != 0 else None
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
