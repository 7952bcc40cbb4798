"""The part of the client protocol for the crypto zone of the workspace."""

from __future__ import annotations

from typing import Protocol

from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus


class ZoneClient(Protocol):
    """Operations for the hosts that execute the tasks of the workspace in a separate network."""

    async def zone_status(self) -> ZoneStatus | None:
        """Return the state of the crypto zone and its hosts, None if workers on the engine's machine execute the tasks.

        Requires permission to view keys.
        """
        ...

    async def drain_crypto_host(self, name: str) -> CryptoHostStatus:
        """Ask a crypto host to finish its jobs, take no others, and exit; return its state at the time of the request.

        ``name``: the name of the host, or its host name if only one host of the zone has it. Requires permission to
        update the policy. Raises :class:`NotFoundError` if the host is unknown, and :class:`ConflictError` if the
        workspace has no zone or several hosts have this host name.
        """
        ...
