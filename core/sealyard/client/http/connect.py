"""Connect to the server of a profile."""

from __future__ import annotations

import msgspec

from sealyard.client.config.profiles import Profile
from sealyard.client.config.servers import parse_server_url
from sealyard.client.http.client import RETRY_TIMEOUT, HttpClient
from sealyard.client.http.transport import Connection, Endpoint, TokenSource
from sealyard.client.log import register_secret
from sealyard.concurrency.clock import SystemClock


def connect_to_server(
    profile: Profile, token: str | TokenSource, *, retry_timeout: float = RETRY_TIMEOUT
) -> HttpClient:
    """Return a client for the server of ``profile``, without sending a request.

    ``token``: the access token, or a source of current access tokens. The client retries calls for up to
    ``retry_timeout`` seconds. Raises :class:`UsageError` if the server's address is invalid.
    """
    own_token, token_source = (token, None) if isinstance(token, str) else ("", token)
    register_secret(own_token)
    endpoint = Endpoint(url=parse_server_url(profile.server), ca=profile.ca, token=own_token, tenant=profile.tenant)
    connection = Connection(endpoint, token_source=token_source)
    return HttpClient(connection, SystemClock(), retry_timeout=retry_timeout)


async def identify(profile: Profile, token: str | TokenSource) -> Profile:
    """Return ``profile`` with the identity that the server knows: the subject that ``token`` authenticates."""
    client = connect_to_server(profile, token)
    try:
        return msgspec.structs.replace(profile, identity=(await client.workspace()).subject)
    finally:
        await client.close()
