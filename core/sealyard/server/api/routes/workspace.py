"""Route for the workspace and the caller's permissions in it."""

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

    @get("/", summary="Return the workspace, your subject and your permissions")
    async def workspace(self, request: Request[Any, Any, Any], caller: CallerDependency) -> WorkspaceInfo:
        info = await caller.client.workspace()
        # The path of the workspace's folder is disclosed only to clients on the same machine.
        return info if caller.is_local else msgspec.structs.replace(info, location=public_base_url(request))
