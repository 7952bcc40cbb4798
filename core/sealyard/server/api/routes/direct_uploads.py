"""Routes for uploads that clients send to the object store themselves."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, post
from litestar.params import FromPath, JSONBody

from sealyard.engine.inputs.direct_uploads import direct_upload_unavailable_error
from sealyard.model.grants import DirectUpload, UploadGrant
from sealyard.model.requests import UploadStatus
from sealyard.server.api.wire import DigestBody, DirectUploadBody
from sealyard.server.auth.caller import CallerDependency
from sealyard.server.http.bodies import body_too_large
from sealyard.server.settings import S3Settings

NO_STORE_HEADERS = {"Cache-Control": "no-store"}


class DirectUploadController(Controller):
    """Endpoints for sending an upload to the object store. The upload has the same owner, limits and expiry as others.

    If an upload cannot be sent to the object store, it can still be sent to this server, under the same id.
    """

    path = "/upload/{upload_id:str}/direct"
    tags = ["uploads"]

    @post(
        "/",
        summary="Begin to send an upload to the object store",
        description="The client chooses the id. 409 with the code direct-upload-unavailable: send it to this server.",
    )
    async def begin(
        self,
        request: Request[Any, Any, Any],
        caller: CallerDependency,
        upload_id: FromPath[str],
        data: JSONBody[DirectUploadBody],
    ) -> DirectUpload:
        s3: S3Settings = request.app.state.s3
        if not s3.direct_uploads or caller.is_local:
            raise direct_upload_unavailable_error()
        if data.size > caller.max_body_bytes:
            raise body_too_large(caller.max_body_bytes)
        return await caller.engine_handle.begin_direct_upload(
            caller.subject, upload_id, data.name, data.size, data.sha256
        )

    @post(
        "/parts/{part:int}",
        status_code=200,
        summary="Return the URL to which one part is sent",
        description="Send the part with exactly these header fields; the first part has the number 1. Ask again if the "
        "URL has expired. 412 from the object store: it has the content already.",
    )
    async def grant(
        self, caller: CallerDependency, upload_id: FromPath[str], part: FromPath[int], data: JSONBody[DigestBody]
    ) -> Response[UploadGrant]:
        grant = await caller.engine_handle.grant_upload(caller.subject, upload_id, part, data.sha256)
        return Response(grant, headers=NO_STORE_HEADERS)

    @post(
        "/completion",
        status_code=200,
        summary="Verify what the object store has received",
        description="Repeat the request until the upload is complete: it is answered after at most 20 seconds.",
    )
    async def complete(
        self, caller: CallerDependency, upload_id: FromPath[str], data: JSONBody[DigestBody]
    ) -> Response[UploadStatus]:
        upload = await caller.engine_handle.complete_direct_upload(caller.subject, upload_id, data.sha256)
        return Response(upload, headers=NO_STORE_HEADERS)
