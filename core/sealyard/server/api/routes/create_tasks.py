"""Routes that create tasks from files or messages in the request body, or from completed uploads."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from litestar import Request, post
from litestar.params import HeaderParameter, JSONBody

from sealyard.client.capabilities import signs_digest
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import TooLargeError, UsageError
from sealyard.model.requests import EncryptionRequest, PackageRequest, RequestCheck, SigningRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task, TaskKind
from sealyard.server.api.body_schemas import EncryptionOperation, PackageOperation
from sealyard.server.api.routes.tasks import TaskController
from sealyard.server.api.task_forms import parse_encryption_form, parse_package_form
from sealyard.server.api.wire import (
    CheckedFileBody,
    EncryptionBody,
    EncryptionCheckBody,
    PackageBody,
    PackageCheckBody,
    SigningBody,
    TaskResponse,
    task_response,
)
from sealyard.server.auth.caller import Caller, CallerDependency
from sealyard.server.http.base_url import public_base_url
from sealyard.server.http.bodies import body_too_large
from sealyard.server.http.json_bodies import HINT, decode_json, normalize_body
from sealyard.server.http.problems import MediaTypeError

B = TypeVar("B", bound=FrozenStruct)
ApiRequest = Request[Any, Any, Any]
ParseForm = Callable[[ApiRequest, Caller], AbstractAsyncContextManager[B]]

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key", max_length=200, description="requests with the same key return the same task"
    ),
]


MAX_JSON_BYTES = 1024 * 1024
"""Maximum size of a JSON body that refers to uploads."""


class PackagingTaskController(TaskController):
    """Endpoints for tasks that package firmware and metadata files. By default, such tasks need approval."""

    path = "/packagingTask"
    tags = ["packaging tasks"]
    kind: ClassVar[TaskKind | None] = TaskKind.PACKAGING

    @post("/", operation_class=PackageOperation, request_max_body_size=None, summary="Create a packaging task")
    async def create(
        self, request: ApiRequest, caller: CallerDependency, idempotency_key: IdempotencyKey = None
    ) -> TaskResponse:
        async with _parse_body(request, caller, parse_package_form, PackageBody) as body:
            task = await _create_package(caller, body, idempotency_key)
        return task_response(task, public_base_url(request))

    @post("/check", status_code=200, summary="Check a packaging task without creating it")
    async def check(
        self, caller: CallerDependency, data: JSONBody[PackageCheckBody], idempotency_key: IdempotencyKey = None
    ) -> RequestCheck:
        package_request = PackageRequest(
            config=data.device_config_id,
            firmware=_parse_files(caller, data.inputs),
            metadata=_parse_files(caller, data.metadata),
            name=data.name,
            content_type=data.content_type,
            client_token=idempotency_key,
        )
        return await caller.client.check_package(package_request)


class EncryptionTaskController(TaskController):
    """Endpoints for tasks that encrypt a file. Such tasks need no approval unless the policy requires it."""

    path = "/encryptionTask"
    tags = ["encryption tasks"]
    kind: ClassVar[TaskKind | None] = TaskKind.ENCRYPTION

    @post("/", operation_class=EncryptionOperation, request_max_body_size=None, summary="Create an encryption task")
    async def create(
        self, request: ApiRequest, caller: CallerDependency, idempotency_key: IdempotencyKey = None
    ) -> TaskResponse:
        async with _parse_body(request, caller, parse_encryption_form, EncryptionBody) as body:
            task = await _create_encryption(caller, body, idempotency_key)
        return task_response(task, public_base_url(request))

    @post("/check", status_code=200, summary="Check an encryption task without creating it")
    async def check(
        self, caller: CallerDependency, data: JSONBody[EncryptionCheckBody], idempotency_key: IdempotencyKey = None
    ) -> RequestCheck:
        (file,) = _parse_files(caller, (data.input,))
        encryption_request = EncryptionRequest(
            config=data.device_config_id,
            file=file,
            encryption_key=data.encryption_key,
            name=data.name,
            content_type=data.content_type,
            client_token=idempotency_key,
        )
        return await caller.client.check_encryption(encryption_request)


class SigningTaskController(TaskController):
    """Endpoints for tasks that sign a message or a digest.

    By default, such tasks need approval. Their ``outcome`` is the signature.
    """

    path = "/signingTask"
    tags = ["signing tasks"]
    kind: ClassVar[TaskKind | None] = TaskKind.SIGNING

    @post("/", summary="Create a signing task")
    async def create(
        self,
        request: ApiRequest,
        caller: CallerDependency,
        data: JSONBody[SigningBody],
        idempotency_key: IdempotencyKey = None,
    ) -> TaskResponse:
        signing_request = await _build_signing_request(caller, data, idempotency_key)
        return task_response(await caller.client.create_signing(signing_request), public_base_url(request))

    @post("/check", status_code=200, summary="Check a signing task without creating it")
    async def check(
        self, caller: CallerDependency, data: JSONBody[SigningBody], idempotency_key: IdempotencyKey = None
    ) -> RequestCheck:
        return await caller.client.check_signing(await _build_signing_request(caller, data, idempotency_key))


async def _build_signing_request(caller: Caller, body: SigningBody, idempotency_key: str | None) -> SigningRequest:
    is_digest = body.is_digest
    if is_digest is None:
        device = await caller.client.device(body.device_config_id)
        is_digest = signs_digest(device.signing.algorithm)
    return SigningRequest(
        config=body.device_config_id,
        message=_decode_base64(body.input_base64),
        is_digest=is_digest,
        file_name=body.file_name,
        name=body.name,
        content_type=body.content_type,
        client_token=idempotency_key,
    )


async def _create_package(caller: Caller, body: PackageBody, idempotency_key: str | None) -> Task:
    request = PackageRequest(
        config=body.device_config_id,
        firmware=await caller.engine_handle.resolve_uploads(caller.subject, body.input_ids),
        metadata=await caller.engine_handle.resolve_uploads(caller.subject, body.metadata_ids),
        name=body.name,
        content_type=body.content_type,
        client_token=idempotency_key,
    )
    task = await caller.client.create_package(request)
    await caller.engine_handle.claim_uploads(caller.subject, (*body.input_ids, *body.metadata_ids))
    return task


async def _create_encryption(caller: Caller, body: EncryptionBody, idempotency_key: str | None) -> Task:
    (file,) = await caller.engine_handle.resolve_uploads(caller.subject, (body.input_id,))
    request = EncryptionRequest(
        config=body.device_config_id,
        file=file,
        encryption_key=body.encryption_key,
        name=body.name,
        content_type=body.content_type,
        client_token=idempotency_key,
    )
    task = await caller.client.create_encryption(request)
    await caller.engine_handle.claim_uploads(caller.subject, (body.input_id,))
    return task


@asynccontextmanager
async def _parse_body(
    request: ApiRequest, caller: Caller, parse_form: ParseForm[B], body_type: type[B]
) -> AsyncIterator[B]:
    """Parse a request body: a form that contains files, or JSON that refers to uploads."""
    if _media_type(request) == "multipart/form-data":
        async with parse_form(request, caller) as form:
            yield form
        return
    yield await _parse_json(request, body_type)


def _media_type(request: ApiRequest) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _parse_json(request: ApiRequest, body_type: type[B]) -> B:
    """Parse a JSON body.

    Raises :class:`MediaTypeError` if the body is not JSON, :class:`TooLargeError` if it is larger than MAX_JSON_BYTES,
    and :class:`UsageError` if it is invalid.
    """
    if _media_type(request) != "application/json":
        raise MediaTypeError("Unsupported media type.", "Send multipart/form-data or application/json.")
    body = normalize_body(decode_json(await _read_json(request)), body_type)
    try:
        return msgspec.convert(body, body_type)
    except msgspec.ValidationError as error:
        raise UsageError(f"Invalid request: {escape_text(str(error), 200)}.", HINT) from error


async def _read_json(request: ApiRequest) -> bytes:
    """Read the request body. Raises :class:`TooLargeError` if it is larger than MAX_JSON_BYTES."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise TooLargeError("Request body too large.", "Send files as uploads.")
    return body


def _parse_files(caller: Caller, files: Sequence[CheckedFileBody]) -> tuple[InputFile, ...]:
    """Return files that have not been uploaded as input files.

    Raises :class:`TooLargeError` if one is larger than an upload may be.
    """
    if any(file.size > caller.max_body_bytes for file in files):
        raise body_too_large(caller.max_body_bytes)
    return tuple(InputFile(name=file.name, size=file.size, sha256=file.sha256.lower()) for file in files)


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise UsageError("Invalid Base64 in inputBase64.", "Encode the message in standard Base64.") from None
