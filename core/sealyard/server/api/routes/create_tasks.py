"""Asking for tasks: the documented calls, with files in the body or as uploads that came before."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from litestar import Request, post
from litestar.params import HeaderParameter, JSONBody

from sealyard.client.capabilities import signs_digest
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import TooLargeError, UsageError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task, TaskKind
from sealyard.server.api.body_schemas import EncryptionOperation, PackageOperation
from sealyard.server.api.routes.tasks import TaskController
from sealyard.server.api.task_forms import parse_encryption_form, parse_package_form
from sealyard.server.api.wire import EncryptionBody, PackageBody, SigningBody, TaskResponse, task_document
from sealyard.server.auth.caller import Caller, CallerDependency
from sealyard.server.http.base_url import public_base_url
from sealyard.server.http.problems import MediaTypeError

B = TypeVar("B", bound=FrozenStruct)
Calling = Request[Any, Any, Any]
Received = Callable[[Calling, Caller], AbstractAsyncContextManager[B]]

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(name="Idempotency-Key", max_length=200, description="the same key gives the same task"),
]


MAX_JSON_BYTES = 1024 * 1024
"""Bytes of a body that names uploads."""


class PackagingTaskController(TaskController):
    """Packages of firmware and metadata files; they wait for approval."""

    path = "/packagingTask"
    tags = ["packaging tasks"]
    kind: ClassVar[TaskKind | None] = TaskKind.PACKAGING

    @post("/", operation_class=PackageOperation, request_max_body_size=None, summary="Asks for a package")
    async def create(
        self, request: Calling, caller: CallerDependency, idempotency_key: IdempotencyKey = None
    ) -> TaskResponse:
        async with _parse_body(request, caller, parse_package_form, PackageBody) as body:
            task = await _package(caller, body, idempotency_key)
        return task_document(task, public_base_url(request))


class EncryptionTaskController(TaskController):
    """One encrypted file; needs no approval unless the policy says so."""

    path = "/encryptionTask"
    tags = ["encryption tasks"]
    kind: ClassVar[TaskKind | None] = TaskKind.ENCRYPTION

    @post("/", operation_class=EncryptionOperation, request_max_body_size=None, summary="Encrypts a file")
    async def create(
        self, request: Calling, caller: CallerDependency, idempotency_key: IdempotencyKey = None
    ) -> TaskResponse:
        async with _parse_body(request, caller, parse_encryption_form, EncryptionBody) as body:
            task = await _encryption(caller, body, idempotency_key)
        return task_document(task, public_base_url(request))


class SigningTaskController(TaskController):
    """A signature of a message or a finished digest; they wait for approval, and their outcome is a string."""

    path = "/signingTask"
    tags = ["signing tasks"]
    kind: ClassVar[TaskKind | None] = TaskKind.SIGNING

    @post("/", summary="Asks for a signature")
    async def create(
        self,
        request: Calling,
        caller: CallerDependency,
        data: JSONBody[SigningBody],
        idempotency_key: IdempotencyKey = None,
    ) -> TaskResponse:
        is_digest = data.is_digest
        if is_digest is None:
            device = await caller.client.device(data.device_config_id)
            is_digest = signs_digest(device.signing.algorithm)
        asked = SigningRequest(
            config=data.device_config_id,
            message=_decoded(data.input_base64),
            is_digest=is_digest,
            file_name=data.file_name,
            name=data.name,
            content_type=data.content_type,
            client_token=idempotency_key,
        )
        return task_document(await caller.client.create_signing(asked), public_base_url(request))


async def _package(caller: Caller, body: PackageBody, key: str | None) -> Task:
    asked = PackageRequest(
        config=body.device_config_id,
        firmware=await caller.host.resolve_uploads(caller.subject, body.input_ids),
        metadata=await caller.host.resolve_uploads(caller.subject, body.metadata_ids),
        name=body.name,
        content_type=body.content_type,
        client_token=key,
    )
    task = await caller.client.create_package(asked)
    await caller.host.claim_uploads(caller.subject, (*body.input_ids, *body.metadata_ids))
    return task


async def _encryption(caller: Caller, body: EncryptionBody, key: str | None) -> Task:
    (file,) = await caller.host.resolve_uploads(caller.subject, (body.input_id,))
    asked = EncryptionRequest(
        config=body.device_config_id, file=file, name=body.name, content_type=body.content_type, client_token=key
    )
    task = await caller.client.create_encryption(asked)
    await caller.host.claim_uploads(caller.subject, (body.input_id,))
    return task


@asynccontextmanager
async def _parse_body(request: Calling, caller: Caller, received: Received[B], kind: type[B]) -> AsyncIterator[B]:
    """From a form that brings the files, or from JSON that names uploads. Raises what each of them does."""
    if _media(request) == "multipart/form-data":
        async with received(request, caller) as form:
            yield form
        return
    yield await _json(request, kind)


def _media(request: Calling) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _json(request: Calling, kind: type[B]) -> B:
    """Raises :class:`MediaTypeError`, :class:`UsageError`."""
    if _media(request) != "application/json":
        raise MediaTypeError("A body of this media type is not taken here.", "Send multipart/form-data or JSON.")
    try:
        return msgspec.json.decode(await _limited_json(request), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        words = escape_text(str(error), 200)
        raise UsageError(f"The request makes no sense: {words}.", "See /docs for what is expected.") from error


async def _limited_json(request: Calling) -> bytes:
    """Raises :class:`TooLargeError` where it is no body that only names uploads."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise TooLargeError("The body is larger than is taken here.", "Hand files in as uploads.")
    return body


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("inputBase64 is not Base64.", "Encode the message in standard Base64.") from None
