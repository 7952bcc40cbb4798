"""Where a caller is, as whom, and what it may do there."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, get

from sealyard.model.requests import WorkspaceInfo
from sealyard.server.auth.caller import CallerDependency
from sealyard.server.http.base_url import public_base_url


class WorkspaceController(Controller):
    path = "/workspace"
    tags = ["workspace"]

    @get("/", summary="Where one is, as whom, with which rights, and what four eyes means here")
    async def workspace(self, request: Request[Any, Any, Any], caller: CallerDependency) -> WorkspaceInfo:
        info = await caller.client.workspace()
        # Where its folder lies concerns only those who sit at the machine.
        return info if caller.is_local else msgspec.structs.replace(info, location=public_base_url(request))
