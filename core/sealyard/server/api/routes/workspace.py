"""Routes for the workspace, the caller's permissions in it, and the system clock."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.params import JSONBody

from sealyard.model.clock import ClockConfirmation
from sealyard.model.requests import WorkspaceInfo
from sealyard.server.api.wire import ClockConfirmationBody
from sealyard.server.auth.caller import CallerDependency
from sealyard.server.http.base_url import public_base_url


class WorkspaceController(Controller):
    path = "/workspace"
    tags = ["workspace"]

    @get("/", summary="Return the workspace, your subject and your permissions")
    async def workspace(self, request: Request[Any, Any, Any], caller: CallerDependency) -> WorkspaceInfo:
        info = await caller.client.workspace()
        if caller.is_local:
            return info
        # The path of the workspace's folder is disclosed only to clients on the same machine.
        return msgspec.structs.replace(info, location=public_base_url(request), server=socket.gethostname())

    @post("/clockConfirmation", status_code=200, summary="Confirm the system clock, so that held changes are applied")
    async def confirm_clock(self, caller: CallerDependency, data: JSONBody[ClockConfirmationBody]) -> ClockConfirmation:
        return await caller.client.confirm_clock(confirmed=data.confirmed)
