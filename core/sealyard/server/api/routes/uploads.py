"""Uploads: tus 1.0 (core, creation, termination) for large files over bad lines, and raw PUT for everything else."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Controller, MediaType, Request, Response, delete, get, head, patch, post, put, route
from litestar.datastructures import ResponseHeader
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, HeaderParameter, QueryParameter

from sealyard.model.errors import UsageError
from sealyard.model.requests import UploadStatus
from sealyard.server.auth.caller import Caller, CallerDependency
from sealyard.server.http.bodies import body_too_large, limited_body
from sealyard.server.http.problems import PROBLEM_JSON, MediaTypeError, to_problem

TUS_VERSION = "1.0.0"
TUS_EXTENSIONS = "creation,termination"
TUS_CONTENT = "application/offset+octet-stream"

TUS = {"Tus-Resumable": TUS_VERSION}
NO_STORE = {"Cache-Control": "no-store"}

Calling = Request[Any, Any, Any]

Offset = Annotated[int, HeaderParameter(name="Upload-Offset", ge=0, description="the first byte of this body")]
Length = Annotated[int, HeaderParameter(name="Upload-Length", ge=0, description="bytes of the whole file")]
Metadata = Annotated[
    str,
    HeaderParameter(
        name="Upload-Metadata",
        description="pairs of a key and its value in Base64, by commas; taken are filename, and sha256 (hex)",
    ),
]
Size = Annotated[
    int | None,
    QueryParameter(ge=0, description="bytes of the whole file; left out: the offset and Content-Length say it"),
]
Digest = Annotated[str | None, QueryParameter(description="SHA-256 in hex that the whole file must have")]
Name = Annotated[str, QueryParameter(description="the file's name")]

OFFSET = ResponseHeader(name="Upload-Offset", description="the next byte wanted", documentation_only=True)
LENGTH = ResponseHeader(name="Upload-Length", description="bytes of the whole file", documentation_only=True)
LOCATION = ResponseHeader(name="Location", description="where the bytes go", documentation_only=True)


@dataclass
class RawOperation(Operation):
    """A body that is the file's bytes."""

    def __post_init__(self) -> None:
        self.request_body = _octets("application/octet-stream")


@dataclass
class TusOperation(Operation):
    """A body that is a piece of the file, in the media type of tus."""

    def __post_init__(self) -> None:
        self.request_body = _octets(TUS_CONTENT)


def _octets(media: str) -> RequestBody:
    schema = Schema(type=OpenAPIType.STRING, content_media_type=media)
    return RequestBody(required=True, content={media: OpenAPIMediaType(schema=schema)})


def _require_tus_version(request: Calling) -> Response[Any] | None:
    """tus 1.0, "Tus-Resumable": another version is answered with 412 and the one there is."""
    if request.method == "OPTIONS" or request.headers.get("tus-resumable", TUS_VERSION) == TUS_VERSION:
        return None
    problem = to_problem(UsageError("This version of tus is not spoken here.", f"Use {TUS_VERSION}."))
    return Response(
        msgspec.structs.replace(problem, status=412, title="Precondition Failed"),
        status_code=412,
        media_type=PROBLEM_JSON,
        headers={"Tus-Version": TUS_VERSION, **TUS},
    )


class UploadController(Controller):
    """Files on their way in. An upload is its owner's: to others it does not exist. It goes 24 hours after it began."""

    path = "/upload"
    tags = ["uploads"]
    request_max_body_size = None  # ours is enforced while the body streams
    before_request = staticmethod(_require_tus_version)

    # The framework takes handlers by the order of their names, and answers OPTIONS itself where another one of the
    # path comes first.
    @route("/", http_method=["OPTIONS"], status_code=204, summary="What of tus is spoken here")
    async def advertise_capabilities(self, caller: CallerDependency) -> Response[None]:
        return _tus_response(
            {"Tus-Version": TUS_VERSION, "Tus-Extension": TUS_EXTENSIONS, "Tus-Max-Size": str(caller.max_body_bytes)}
        )

    @post("/", summary="Begins an upload, as tus does", response_headers=[LOCATION, OFFSET])
    async def create(
        self, request: Calling, caller: CallerDependency, upload_length: Length, upload_metadata: Metadata = ""
    ) -> Response[UploadStatus]:
        metadata = _metadata(upload_metadata)
        _check_size(upload_length, caller)
        begun = await caller.host.create_upload(
            caller.subject, None, metadata.get("filename", ""), upload_length, metadata.get("sha256")
        )
        answer = _json_response(begun, status=201)
        answer.headers["Location"] = f"{request.url.path.rstrip('/')}/{begun.id}"
        return answer

    @put(
        "/{upload_id:str}",
        operation_class=RawOperation,
        summary="Sends a file whole, or goes on with it from an offset",
        description="The id is chosen by the client: 16 to 64 of A-Z a-z 0-9 _ and -. 201 where it began here.",
    )
    async def send(
        self,
        request: Calling,
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
            await caller.host.create_upload(caller.subject, upload_id, name, length, sha256)
        received = await caller.host.write_upload(caller.subject, upload_id, upload_offset, content)
        return _json_response(received, status=200 if upload_offset else 201)

    @head("/{upload_id:str}", summary="Where an upload stands, as tus asks", response_headers=[OFFSET, LENGTH])
    async def offset(self, caller: CallerDependency, upload_id: FromPath[str]) -> Response[None]:
        upload = await caller.host.upload(caller.subject, upload_id)
        return _tus_response({**_location(upload), **NO_STORE}, status=200)

    @patch(
        "/{upload_id:str}",
        status_code=204,
        operation_class=TusOperation,
        summary="Sends the next piece, as tus does",
        response_headers=[OFFSET],
    )
    async def append(
        self, request: Calling, caller: CallerDependency, upload_id: FromPath[str], upload_offset: Offset
    ) -> Response[None]:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != TUS_CONTENT:
            raise MediaTypeError("A piece of an upload has a media type of its own.", f"Send it as {TUS_CONTENT}.")
        content = limited_body(request, caller.max_body_bytes)
        return _tus_response(
            _location(await caller.host.write_upload(caller.subject, upload_id, upload_offset, content))
        )

    @get("/{upload_id:str}", summary="An upload; with its SHA-256 once it is complete")
    async def upload(self, caller: CallerDependency, upload_id: FromPath[str]) -> Response[UploadStatus]:
        return _json_response(await caller.host.upload(caller.subject, upload_id), status=200)

    @delete("/{upload_id:str}", summary="Drops an upload; a task that has its content keeps it")
    async def drop(self, caller: CallerDependency, upload_id: FromPath[str]) -> Response[None]:
        await caller.host.delete_upload(caller.subject, upload_id)
        return _tus_response({})


def _tus_response(headers: dict[str, str], *, status: int = 204) -> Response[None]:
    # As JSON it would be the four bytes "null".
    return Response(None, status_code=status, media_type=MediaType.TEXT, headers={**TUS, **headers})


def _json_response(upload: UploadStatus, *, status: int) -> Response[UploadStatus]:
    return Response(upload, status_code=status, headers={**TUS, **_location(upload), **NO_STORE})


def _location(upload: UploadStatus) -> dict[str, str]:
    length = {"Upload-Length": str(upload.size)} if upload.size is not None else {}
    return {"Upload-Offset": str(upload.offset), **length}


def _check_size(length: int, caller: Caller) -> None:
    if length > caller.max_body_bytes:
        raise body_too_large(caller.max_body_bytes)


def _declared_length(request: Calling) -> int:
    """Raises :class:`UsageError` where the caller does not say how long the file is."""
    if request.content_length is None:
        raise UsageError("It is not said how long the file is.", "Say it by ?size= or by Content-Length.")
    return request.content_length


def _metadata(header: str) -> dict[str, str]:
    """tus 1.0, "Upload-Metadata". Raises :class:`UsageError`."""
    pairs = [each.strip().partition(" ") for each in header.split(",") if each.strip()]
    try:
        return {key: base64.b64decode(value.strip(), validate=True).decode() for key, _, value in pairs}
    except (binascii.Error, UnicodeDecodeError):
        raise UsageError(
            "Upload-Metadata is not understood.", "Write a key, a space, and its value in Base64; the next by a comma."
        ) from None
