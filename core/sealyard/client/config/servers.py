"""What a front end does before it has a client of a server: its address, and who asks there."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from sealyard.client.config.profiles import Profile
from sealyard.client.log import register_secret
from sealyard.concurrency.clock import SystemClock
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.client.http.client import HttpClient

RETRY_TIMEOUT = 60.0
"""Seconds over which one call is tried."""


def parse_server_url(text: str) -> str:
    """The base URL, without a slash at its end; https where no scheme is named.

    Raises :class:`UsageError`, also for plain http to another machine: the token could be read on its way.
    """
    split = _split(text if "://" in text else f"https://{text}")
    if split is None or split.scheme not in ("https", "http"):
        raise UsageError(f"{escape_text(text, 100)!r} is no address of a server.", "Write https://seal.example:8443.")
    if split.scheme == "http" and not _loopback(split.hostname or ""):
        raise UsageError(
            f"{escape_text(text, 100)} is not encrypted: a token could be read on its way there.",
            "Take https; http is for a server on this machine only.",
        )
    return f"{split.scheme}://{split.netloc}{split.path.rstrip('/').removesuffix('/api/v1')}"


def connect_to_server(profile: Profile, token: str, *, patience: float = RETRY_TIMEOUT) -> HttpClient:
    """The client of a server's profile; nothing is asked yet. Raises :class:`UsageError` for a bad address."""
    from sealyard.client.http.client import HttpClient
    from sealyard.client.http.transport import Connection, Endpoint

    register_secret(token)
    place = Endpoint(url=parse_server_url(profile.server), ca=profile.ca, token=token, tenant=profile.tenant)
    return HttpClient(Connection(place), SystemClock(), patience=patience)


def _split(url: str) -> SplitResult | None:
    """None for what says more or less than a place, and for what is no host or port."""
    try:
        split = urlsplit(url)
        plain = split.username is None and split.password is None and not split.query and not split.fragment
        return split if plain and split.hostname and split.port != 0 else None
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
