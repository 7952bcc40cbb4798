"""Routes for resumable uploads: the tus 1.0 protocol (core, creation and termination), and PUT with an offset."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Controller, MediaType, Request, Response, delete, get, head, patch, post, put, route
from litestar.datastructures import ResponseHeader
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath, HeaderParameter, QueryParameter

from sealyard.model.errors import UsageError
from sealyard.model.requests import UploadStatus
from sealyard.server.auth.caller import Caller, CallerDependency
from sealyard.server.http.bodies import body_too_large, limited_body
from sealyard.server.http.problems import PROBLEM_JSON, MediaTypeError, to_problem

TUS_VERSION = "1.0.0"
TUS_EXTENSIONS = "creation,termination"
TUS_MEDIA_TYPE = "application/offset+octet-stream"

TUS_HEADERS = {"Tus-Resumable": TUS_VERSION}
NO_STORE_HEADERS = {"Cache-Control": "no-store"}

ApiRequest = Request[Any, Any, Any]

Offset = Annotated[
    int, HeaderParameter(name="Upload-Offset", ge=0, description="offset of the first byte of this body")
]
Length = Annotated[int, HeaderParameter(name="Upload-Length", ge=0, description="size of the file in bytes")]
Metadata = Annotated[
    str,
    HeaderParameter(
        name="Upload-Metadata",
        description="comma-separated pairs of a key and a value in Base64; supported: filename, sha256 (hex)",
    ),
]
Size = Annotated[
    int | None,
    QueryParameter(ge=0, description="size of the file in bytes; by default Content-Length"),
]
Digest = Annotated[str | None, QueryParameter(description="expected SHA-256 of the file in hex")]
Name = Annotated[str, QueryParameter(description="name of the file")]

OFFSET_HEADER = ResponseHeader(name="Upload-Offset", description="offset of the next byte", documentation_only=True)
LENGTH_HEADER = ResponseHeader(name="Upload-Length", description="size of the file in bytes", documentation_only=True)
LOCATION_HEADER = ResponseHeader(name="Location", description="URL of the upload", documentation_only=True)


@dataclass
class RawOperation(Operation):
    """OpenAPI operation whose request body is the content of a file (application/octet-stream)."""

    def __post_init__(self) -> None:
        self.request_body = _binary_body("application/octet-stream")


@dataclass
class TusOperation(Operation):
    """OpenAPI operation whose request body is a chunk of a file (application/offset+octet-stream, as in tus 1.0)."""

    def __post_init__(self) -> None:
        self.request_body = _binary_body(TUS_MEDIA_TYPE)


def _binary_body(media_type: str) -> RequestBody:
    schema = Schema(type=OpenAPIType.STRING, content_media_type=media_type, format=OpenAPIFormat.BINARY)
    return RequestBody(required=True, content={media_type: OpenAPIMediaType(schema=schema)})


def _require_tus_version(request: ApiRequest) -> Response[Any] | None:
    """Return a 412 response with the supported version if a request uses another version of tus, otherwise None."""
    if request.method == "OPTIONS" or request.headers.get("tus-resumable", TUS_VERSION) == TUS_VERSION:
        return None
    problem = to_problem(UsageError("Unsupported version of tus.", f"Use version {TUS_VERSION}."))
    return Response(
        msgspec.structs.replace(problem, status=412, title="Precondition Failed"),
        status_code=412,
        media_type=PROBLEM_JSON,
        headers={"Tus-Version": TUS_VERSION, **TUS_HEADERS},
    )


class UploadController(Controller):
    """Endpoints for file uploads. Only the owner can access an upload, which expires 24 hours after it was created."""

    path = "/upload"
    tags = ["uploads"]
    request_max_body_size = None  # `limited_body` enforces the limit while the body is streamed
    before_request = staticmethod(_require_tus_version)

    # Litestar registers handlers in alphabetical order of their names, and handles OPTIONS itself if another handler
    # of the path comes first. Therefore, this name must remain first in alphabetical order.
    @route("/", http_method=["OPTIONS"], status_code=204, summary="Return the supported tus features")
    async def advertise_capabilities(self, caller: CallerDependency) -> Response[None]:
        return _tus_response(
            {"Tus-Version": TUS_VERSION, "Tus-Extension": TUS_EXTENSIONS, "Tus-Max-Size": str(caller.max_body_bytes)}
        )

    @post("/", summary="Create an upload (tus)", response_headers=[LOCATION_HEADER, OFFSET_HEADER])
    async def create(
        self, request: ApiRequest, caller: CallerDependency, upload_length: Length, upload_metadata: Metadata = ""
    ) -> Response[UploadStatus]:
        metadata = _parse_metadata(upload_metadata)
        _check_size(upload_length, caller)
        upload = await caller.engine_handle.create_upload(
            caller.subject, None, metadata.get("filename", ""), upload_length, metadata.get("sha256")
        )
        response = _json_response(upload, status=201)
        response.headers["Location"] = f"{request.url.path.rstrip('/')}/{upload.id}"
        return response

    @put(
        "/{upload_id:str}",
        operation_class=RawOperation,
        summary="Upload a file, or resume at an offset",
        description="The client chooses the id: 16 to 64 characters of A-Z a-z 0-9 _ and -. 201 for a new upload.",
    )
    async def send(
        self,
        request: ApiRequest,
        caller: CallerDependency,
        upload_id: FromPath[str],
        upload_offset: Offset = 0,
        name: Name = "",
        sha256: Digest = None,
        size: Size = None,
    ) -> Response[UploadStatus]:
        content = limited_body(request, caller.max_body_bytes)
        if upload_offset == 0:
            length = size if size is not None else _declared_length(request)
            _check_size(length, caller)
            await caller.engine_handle.create_upload(caller.subject, upload_id, name, length, sha256)
        upload = await caller.engine_handle.write_upload(caller.subject, upload_id, upload_offset, content)
        return _json_response(upload, status=200 if upload_offset else 201)

    @head(
        "/{upload_id:str}",
        summary="Return the offset of an upload (tus)",
        response_headers=[OFFSET_HEADER, LENGTH_HEADER],
    )
    async def offset(self, caller: CallerDependency, upload_id: FromPath[str]) -> Response[None]:
        upload = await caller.engine_handle.upload(caller.subject, upload_id)
        return _tus_response({**_progress_headers(upload), **NO_STORE_HEADERS}, status=200)

    @patch(
        "/{upload_id:str}",
        status_code=204,
        operation_class=TusOperation,
        summary="Append to an upload (tus)",
        response_headers=[OFFSET_HEADER],
    )
    async def append(
        self, request: ApiRequest, caller: CallerDependency, upload_id: FromPath[str], upload_offset: Offset
    ) -> Response[None]:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != TUS_MEDIA_TYPE:
            raise MediaTypeError("Unsupported media type.", f"Send {TUS_MEDIA_TYPE}.")
        content = limited_body(request, caller.max_body_bytes)
        upload = await caller.engine_handle.write_upload(caller.subject, upload_id, upload_offset, content)
        return _tus_response(_progress_headers(upload))

    @get("/{upload_id:str}", summary="Return an upload, with its SHA-256 if complete")
    async def upload(self, caller: CallerDependency, upload_id: FromPath[str]) -> Response[UploadStatus]:
        return _json_response(await caller.engine_handle.upload(caller.subject, upload_id), status=200)

    @delete("/{upload_id:str}", summary="Delete an upload; tasks keep its content")
    async def delete_upload(self, caller: CallerDependency, upload_id: FromPath[str]) -> Response[None]:
        await caller.engine_handle.delete_upload(caller.subject, upload_id)
        return _tus_response({})


def _tus_response(headers: dict[str, str], *, status: int = 204) -> Response[None]:
    # With the media type JSON, Litestar would encode None as "null".
    return Response(None, status_code=status, media_type=MediaType.TEXT, headers={**TUS_HEADERS, **headers})


def _json_response(upload: UploadStatus, *, status: int) -> Response[UploadStatus]:
    return Response(
        upload, status_code=status, headers={**TUS_HEADERS, **_progress_headers(upload), **NO_STORE_HEADERS}
    )


def _progress_headers(upload: UploadStatus) -> dict[str, str]:
    length = {"Upload-Length": str(upload.size)} if upload.size is not None else {}
    return {"Upload-Offset": str(upload.offset), **length}


def _check_size(length: int, caller: Caller) -> None:
    if length > caller.max_body_bytes:
        raise body_too_large(caller.max_body_bytes)


def _declared_length(request: ApiRequest) -> int:
    """Return the value of ``Content-Length``. Raises :class:`UsageError` if it is missing."""
    if request.content_length is None:
        raise UsageError("Missing file size.", "Set the 'size' parameter or the Content-Length header.")
    return request.content_length


def _parse_metadata(header: str) -> dict[str, str]:
    """Parse the ``Upload-Metadata`` header of tus 1.0. Raises :class:`UsageError` if it is invalid."""
    pairs = [pair.strip().partition(" ") for pair in header.split(",") if pair.strip()]
    try:
        return {key: base64.b64decode(value.strip(), validate=True).decode() for key, _, value in pairs}
    except ValueError:  # invalid Base64, text that is not ASCII, or bytes that are not UTF-8
        raise UsageError(
            "Invalid header Upload-Metadata.", "Use comma-separated pairs of a key and a value in Base64."
        ) from None
