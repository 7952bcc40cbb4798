"""Route for downloads through signed, expiring links, which require no token."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.params import FromPath, FromQuery, HeaderParameter
from litestar.response import Stream

from sealyard.server.api.ranges import RangeHeaders, file_response
from sealyard.server.api.wire import link_from_url
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.head import is_head
from sealyard.server.settings import S3Settings


class LinkController(Controller):
    """Endpoint for downloads through signed links. A link grants access to one result until it expires."""

    path = "/link"
    tags = ["results"]

    @get(
        "/{workspace_id:str}/{task_id:str}", summary="Download a result by link", media_type="application/octet-stream"
    )
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
        engine_handle = tenants.for_link(workspace_id)
        link = link_from_url(workspace_id, task_id, expires, signature)
        task = await engine_handle.resolve_link(link)
        # Count the request only after verifying the link: requests with an invalid link must not use up the limit.
        authenticator: Authenticator = request.app.state.authenticator
        authenticator.rate_limit_link(request.scope, f"{workspace_id}/{task.id}")
        s3: S3Settings = request.app.state.s3
        return await file_response(
            task,
            RangeHeaders(range_, if_range, if_none_match),
            lambda offset: engine_handle.download_link(link, offset),
            lambda offset: engine_handle.record_link_transfer(link, offset),
            head_only=is_head(request),
            redirect=(lambda offset: engine_handle.grant_link(link, offset)) if s3.redirect else None,
        )
