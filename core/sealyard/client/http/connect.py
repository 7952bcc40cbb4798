"""Connect to the server of a profile."""

from __future__ import annotations

from sealyard.client.config.profiles import Profile
from sealyard.client.config.servers import parse_server_url
from sealyard.client.http.client import RETRY_TIMEOUT, HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.client.log import register_secret
from sealyard.concurrency.clock import SystemClock


def connect_to_server(profile: Profile, token: str, *, retry_timeout: float = RETRY_TIMEOUT) -> HttpClient:
    """Return a client for the server of ``profile``, without sending a request.

    The client retries calls for up to ``retry_timeout`` seconds. Raises :class:`UsageError` if the server's address is
    invalid.
    """
    register_secret(token)
    endpoint = Endpoint(url=parse_server_url(profile.server), ca=profile.ca, token=token, tenant=profile.tenant)
    return HttpClient(Connection(endpoint), SystemClock(), retry_timeout=retry_timeout)
