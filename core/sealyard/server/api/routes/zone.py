"""Routes for the crypto zone: the hosts that execute the tasks of a tenant in a separate network."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import FromPath

from sealyard.model.errors import NotFoundError
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus
from sealyard.server.auth.caller import CallerDependency


class ZoneController(Controller):
    """Endpoints for the crypto zone of a tenant and its hosts."""

    path = "/zone"
    tags = ["crypto zone"]

    @get("/", summary="Return the crypto zone and its hosts")
    async def zone(self, caller: CallerDependency) -> ZoneStatus:
        status = await caller.client.zone_status()
        if status is None:
            raise NotFoundError("The workspace has no crypto zone: workers on the server execute its tasks.")
        return status

    @post("/hosts/{name:str}/drain", status_code=200, summary="Let a crypto host finish its jobs and exit")
    async def drain(self, caller: CallerDependency, name: FromPath[str]) -> CryptoHostStatus:
        return await caller.client.drain_crypto_host(name)
