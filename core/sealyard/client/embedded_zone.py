"""Calls of the embedded client for the crypto zone."""

from __future__ import annotations

from sealyard.client.embedded_calls import EngineCalls
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus


class ZoneCalls(EngineCalls):
    """Calls for the hosts of the crypto zone."""

    async def zone_status(self) -> ZoneStatus | None:
        return await self._await_query("WORKSPACE", self._engine.zone_hosts.status(self._subject))

    async def drain_crypto_host(self, name: str) -> CryptoHostStatus:
        return await self._execute("WORKSPACE", self._engine.zone_hosts.drain(self._subject, name))
