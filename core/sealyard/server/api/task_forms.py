"""Parsing of multipart forms that create tasks. Each file is streamed into an upload without being buffered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from litestar import Request
from msgspec import UNSET

from sealyard.fs.source_file import verify_digest
from sealyard.model.errors import InvalidInputError, NotFoundError
from sealyard.model.requests import UploadStatus
from sealyard.model.safe_text import escape_text
from sealyard.server.api.wire import EncryptionBody, PackageBody
from sealyard.server.auth.caller import Caller
from sealyard.server.http.bodies import limited_body
from sealyard.server.http.multipart import FilePart, TextPart, iter_parts

CHECKSUM_FIELD = "sha256checksum"
TASK_FIELDS = ("deviceConfigId", "name", "contentType", "justification", "resubmissionOf")


@dataclass(frozen=True)
class FormFieldNames:
    """The names of the fields of a form: text fields, file fields, and fields with upload ids instead of files."""

    texts: tuple[str, ...]
    firmware: tuple[str, ...]
    firmware_ids: tuple[str, ...]
    metadata: tuple[str, ...] = ()
    metadata_ids: tuple[str, ...] = ()


PACKAGE_FIELDS = FormFieldNames(
    TASK_FIELDS, ("inputFiles",), ("inputIds",), ("metadataFile", "metadataFiles"), ("metadataIds",)
)
ENCRYPTION_FIELDS = FormFieldNames((*TASK_FIELDS, "encryptionKey"), ("inputFile",), ("inputId",))


@asynccontextmanager
async def parse_package_form(request: Request[Any, Any, Any], caller: Caller) -> AsyncIterator[PackageBody]:
    """Parse the form of a packaging task. Files and upload ids keep their order in the form.

    The context manager streams each file of the form into an upload on entry, and deletes these uploads on exit or
    failure. A task that was created within the context keeps their content. Raises :class:`InvalidInputError` if the
    form is invalid, :class:`TooLargeError` if it is too large, and any error raised by an upload.
    """
    async with _receive_form(request, caller, PACKAGE_FIELDS) as form:
        yield PackageBody(
            input_ids=tuple(form.firmware),
            metadata_ids=tuple(form.metadata),
            **form.task_fields(),
        )


@asynccontextmanager
async def parse_encryption_form(request: Request[Any, Any, Any], caller: Caller) -> AsyncIterator[EncryptionBody]:
    """Parse the form of an encryption task, with exactly one file or upload id; see :func:`parse_package_form`."""
    async with _receive_form(request, caller, ENCRYPTION_FIELDS) as form:
        if len(form.firmware) != 1:
            raise InvalidInputError(
                f"Encryption tasks need exactly one file; the form contains {len(form.firmware)}.",
                "Send one inputFile or one inputId.",
            )
        yield EncryptionBody(
            input_id=form.firmware[0],
            encryption_key=form.texts.get("encryptionKey", UNSET),
            **form.task_fields(),
        )


@asynccontextmanager
async def _receive_form(
    request: Request[Any, Any, Any], caller: Caller, fields: FormFieldNames
) -> AsyncIterator[_Form]:
    form = _Form(caller, fields)
    try:
        async for part in iter_parts(
            request.headers.get("content-type", ""), limited_body(request, caller.max_body_bytes)
        ):
            if isinstance(part, TextPart):
                form.add_text(part)
            else:
                await form.add_file(part)
        await form.verify_checksums()
        yield form
    finally:
        await form.discard_uploads()


class _Form:
    """The parts of a form received so far. ``firmware`` and ``metadata`` contain upload ids."""

    def __init__(self, caller: Caller, fields: FormFieldNames) -> None:
        self._caller = caller
        self._fields = fields
        self._created_ids: list[str] = []
        self._firmware_uploads: list[UploadStatus] = []
        self._checksums: list[str] = []
        self.texts: dict[str, str] = {}
        self.firmware: list[str] = []
        self.metadata: list[str] = []

    def require(self, name: str) -> str:
        """Return the value of a text field. Raises :class:`InvalidInputError` if it is missing or empty."""
        value = self.texts.get(name)
        if not value:
            raise InvalidInputError(f"Missing form field {name}.", "See /docs for the API reference.")
        return value

    def task_fields(self) -> dict[str, Any]:
        """Return the fields of :class:`TaskBody`. Raises :class:`InvalidInputError` if the configuration is missing."""
        return {
            "device_config_id": self.require("deviceConfigId"),
            "name": self.texts.get("name", ""),
            "content_type": self.texts.get("contentType", ""),
            "justification": self.texts.get("justification", UNSET),
            "resubmission_of": self.texts.get("resubmissionOf", UNSET),
        }

    def add_text(self, part: TextPart) -> None:
        if part.name in self._fields.firmware_ids:
            self.firmware.append(part.value)
        elif part.name in self._fields.metadata_ids:
            self.metadata.append(part.value)
        elif part.name == CHECKSUM_FIELD:
            self._checksums.append(part.value)
        elif part.name in self._fields.texts and part.name not in self.texts:
            self.texts[part.name] = part.value
        else:
            raise self._unexpected_field_error(part)

    async def add_file(self, part: FilePart) -> None:
        if part.name in self._fields.firmware:
            upload = await self._upload(part)
            self.firmware.append(upload.id)
            self._firmware_uploads.append(upload)
        elif part.name in self._fields.metadata:
            self.metadata.append((await self._upload(part)).id)
        else:
            raise self._unexpected_field_error(part)

    async def verify_checksums(self) -> None:
        """Verify the checksums of the firmware files, if the form contains any.

        Raises :class:`InvalidInputError` if the number of checksums is wrong. If a checksum is wrong, adds an audit
        entry and raises :class:`InputMismatchError`.
        """
        try:
            self._compare_checksums()
        except InvalidInputError as error:
            await self._caller.engine_handle.audit_rejected_input(self._caller.subject, error)
            raise

    def _compare_checksums(self) -> None:
        if not self._checksums:
            return
        if len(self._checksums) != len(self._firmware_uploads):
            raise InvalidInputError(
                f"Number of checksums ({len(self._checksums)}) and files ({len(self._firmware_uploads)}) differ.",
                f"Send {CHECKSUM_FIELD} once for each file, in the same order.",
            )
        for upload, checksum in zip(self._firmware_uploads, self._checksums, strict=True):
            assert upload.sha256 is not None  # always set for a complete upload
            verify_digest(escape_text(upload.name, 100), upload.sha256, checksum)

    async def discard_uploads(self) -> None:
        for upload_id in self._created_ids:
            with suppress(NotFoundError):  # the engine deletes a rejected upload itself
                await self._caller.engine_handle.delete_upload(self._caller.subject, upload_id)

    async def _upload(self, part: FilePart) -> UploadStatus:
        engine_handle, subject = self._caller.engine_handle, self._caller.subject
        upload = await engine_handle.create_upload(subject, None, part.file_name, None)
        self._created_ids.append(upload.id)
        return await engine_handle.write_upload(subject, upload.id, 0, part.content)

    def _unexpected_field_error(self, part: TextPart | FilePart) -> InvalidInputError:
        name = escape_text(part.name, 80)
        if part.name in self.texts:
            return InvalidInputError(f"Repeated form field {name}.", "Send it once.")
        if isinstance(part, TextPart):
            expected = (*self._fields.texts, CHECKSUM_FIELD, *self._fields.firmware_ids, *self._fields.metadata_ids)
            return InvalidInputError(f"Unexpected text field {name} in the form.", _expected_fields(expected))
        expected = (*self._fields.firmware, *self._fields.metadata)
        return InvalidInputError(f"Unexpected file field {name} in the form.", _expected_fields(expected))


def _expected_fields(names: Sequence[str]) -> str:
    return f"Use {', '.join(names[:-1])} or {names[-1]}." if len(names) > 1 else f"Use {names[0]}."
