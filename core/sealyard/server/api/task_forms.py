"""Forms that ask for a task and bring its files: each file streams into an upload, none is buffered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from litestar import Request

from sealyard.model.errors import InvalidInputError, NotFoundError
from sealyard.model.requests import UploadStatus
from sealyard.model.safe_text import escape_text
from sealyard.server.api.wire import EncryptionBody, PackageBody
from sealyard.server.auth.caller import Caller
from sealyard.server.http.bodies import limited_body
from sealyard.server.http.multipart import FilePart, TextPart, iter_parts

CHECKSUM = "sha256checksum"
SINGLE_VALUE_FIELDS = ("deviceConfigId", "name", "contentType")


@dataclass(frozen=True)
class FormFieldNames:
    """The names under which a form brings what a task is made of: as files, or as ids of uploads."""

    firmware: tuple[str, ...]
    firmware_ids: tuple[str, ...]
    metadata: tuple[str, ...] = ()
    metadata_ids: tuple[str, ...] = ()


PACKAGE = FormFieldNames(("inputFiles",), ("inputIds",), ("metadataFile", "metadataFiles"), ("metadataIds",))
ENCRYPTION = FormFieldNames(("inputFile",), ("inputId",))


@asynccontextmanager
async def parse_package_form(request: Request[Any, Any, Any], caller: Caller) -> AsyncIterator[PackageBody]:
    """Files and ids of uploads in the order in which they appear.

    The uploads that the form itself has brought are there for as long as the block lasts: a task made in it keeps
    their content. Raises :class:`InvalidInputError`, :class:`TooLargeError`, and what uploads raise; nothing is left
    then.
    """
    async with _form(request, caller, PACKAGE) as form:
        yield PackageBody(
            device_config_id=form.require("deviceConfigId"),
            input_ids=tuple(form.firmware),
            metadata_ids=tuple(form.metadata),
            name=form.texts.get("name", ""),
            content_type=form.texts.get("contentType", ""),
        )


@asynccontextmanager
async def parse_encryption_form(request: Request[Any, Any, Any], caller: Caller) -> AsyncIterator[EncryptionBody]:
    """See :func:`parse_package_form`; exactly one file, or one id."""
    async with _form(request, caller, ENCRYPTION) as form:
        if len(form.firmware) != 1:
            raise InvalidInputError(
                f"An encryption task takes one file, not {len(form.firmware)}.", "Send one inputFile."
            )
        yield EncryptionBody(
            device_config_id=form.require("deviceConfigId"),
            input_id=form.firmware[0],
            name=form.texts.get("name", ""),
            content_type=form.texts.get("contentType", ""),
        )


@asynccontextmanager
async def _form(request: Request[Any, Any, Any], caller: Caller, fields: FormFieldNames) -> AsyncIterator[_Form]:
    form = _Form(caller, fields)
    try:
        async for part in iter_parts(
            request.headers.get("content-type", ""), limited_body(request, caller.max_body_bytes)
        ):
            if isinstance(part, TextPart):
                form.take_text(part)
            else:
                await form.take_file(part)
        await form.check()
        yield form
    finally:
        await form.discard_uploads()


class _Form:
    """What has come so far. ``firmware`` and ``metadata`` are ids of uploads."""

    def __init__(self, caller: Caller, fields: FormFieldNames) -> None:
        self._caller = caller
        self._fields = fields
        self._created: list[str] = []
        self._uploaded: list[UploadStatus] = []
        self._checksums: list[str] = []
        self.texts: dict[str, str] = {}
        self.firmware: list[str] = []
        self.metadata: list[str] = []

    def require(self, name: str) -> str:
        value = self.texts.get(name)
        if not value:
            raise InvalidInputError(f"The form has no field {name}.", "See /docs for what is expected.")
        return value

    def take_text(self, part: TextPart) -> None:
        if part.name in self._fields.firmware_ids:
            self.firmware.append(part.value)
        elif part.name in self._fields.metadata_ids:
            self.metadata.append(part.value)
        elif part.name == CHECKSUM:
            self._checksums.append(part.value)
        elif part.name in SINGLE_VALUE_FIELDS and part.name not in self.texts:
            self.texts[part.name] = part.value
        else:
            raise self._unexpected(part)

    async def take_file(self, part: FilePart) -> None:
        if part.name in self._fields.firmware:
            upload = await self._received(part)
            self.firmware.append(upload.id)
            self._uploaded.append(upload)
        elif part.name in self._fields.metadata:
            self.metadata.append((await self._received(part)).id)
        else:
            raise self._unexpected(part)

    async def check(self) -> None:
        """Each file is what its checksum says, where there are any."""
        try:
            self._check()
        except InvalidInputError as error:
            await self._caller.host.audit_rejected_input(self._caller.subject, error)
            raise

    def _check(self) -> None:
        if not self._checksums:
            return
        if len(self._checksums) != len(self._uploaded):
            raise InvalidInputError(
                f"There are {len(self._checksums)} checksums for {len(self._uploaded)} files.",
                f"Send {CHECKSUM} once for each file, in their order.",
            )
        for upload, checksum in zip(self._uploaded, self._checksums, strict=True):
            if checksum.lower() != upload.sha256:
                raise InvalidInputError(
                    f"{escape_text(upload.name, 100)} is not what was expected: its SHA-256 is {upload.sha256}, "
                    f"not {escape_text(checksum, 80)}.",
                    "Check that it is the right file and that it arrived whole.",
                )

    async def discard_uploads(self) -> None:
        for each in self._created:
            with suppress(NotFoundError):  # it was refused, and nothing is left of it
                await self._caller.host.delete_upload(self._caller.subject, each)

    async def _received(self, part: FilePart) -> UploadStatus:
        host, subject = self._caller.host, self._caller.subject
        begun = await host.create_upload(subject, None, part.file_name, None)
        self._created.append(begun.id)
        return await host.write_upload(subject, begun.id, 0, part.content)

    def _unexpected(self, part: TextPart | FilePart) -> InvalidInputError:
        kind = "text" if isinstance(part, TextPart) else "file"
        repeated = " once more" if part.name in self.texts else ""
        return InvalidInputError(
            f"The form brings {escape_text(part.name, 80)}{repeated} as a {kind}, which is not taken here.",
            "See /docs for what is expected.",
        )
