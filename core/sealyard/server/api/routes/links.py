"""Results by their link: it is signed and ends, and whoever has it needs no token."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.params import FromPath, FromQuery, HeaderParameter
from litestar.response import Stream

from sealyard.model.errors import PermissionDeniedError
from sealyard.server.api.ranges import RangeHeaders, file_response
from sealyard.server.api.wire import link_from_url
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.tenants import TenantRegistry


class LinkController(Controller):
    """A capability: it says by itself what may be fetched, and until when."""

    path = "/link"
    tags = ["results"]

    @get("/{workspace_id:str}/{task_id:str}", summary="A result, by its link", media_type="application/octet-stream")
    async def download(
        self,
        request: Request[Any, Any, Any],
        workspace_id: FromPath[str],
        task_id: FromPath[str],
        expires: FromQuery[str],
        signature: FromQuery[str],
        range_: Annotated[str | None, HeaderParameter(name="Range", description="bytes=FIRST-LAST")] = None,
        if_range: Annotated[str | None, HeaderParameter(name="If-Range")] = None,
        if_none_match: Annotated[str | None, HeaderParameter(name="If-None-Match")] = None,
    ) -> Stream:
        tenants: TenantRegistry = request.app.state.tenants
        host = tenants.of_workspace(workspace_id)
        if host is None:
            raise PermissionDeniedError("This link does not belong to this workspace.", "Request a new link.")
        link = link_from_url(workspace_id, task_id, expires, signature)
        task = await host.resolve_link(link)
        # Only now: who has no link must not use up what those have who do.
        identity: Authenticator = request.app.state.identity
        identity.rate_limit_link(request.scope, f"{workspace_id}/{task.id}")
        return await file_response(
            task,
            RangeHeaders(range_, if_range, if_none_match),
            lambda offset: host.download_link(link, offset),
            lambda offset: host.record_link_transfer(link, offset),
        )
