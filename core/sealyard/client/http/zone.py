"""API calls for the crypto zone."""

from __future__ import annotations

from sealyard.client.http.requests import ApiCalls, path_segment
from sealyard.client.http.transport import Request
from sealyard.model.errors import NotFoundError
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus


class ZoneCalls(ApiCalls):
    """API calls for the hosts of the crypto zone."""

    async def zone_status(self) -> ZoneStatus | None:
        try:
            return await self._sender.get("/zone", ZoneStatus)
        except NotFoundError:  # no zone, or an older server
            return None

    async def drain_crypto_host(self, name: str) -> CryptoHostStatus:
        request = Request(method="POST", path=f"/zone/hosts/{path_segment(name)}/drain")
        return self._sender.decode(await self._sender.send_retrying(request), CryptoHostStatus)
