"""Resumable uploads: stream files from disk, and remember the upload ids for the requests that use the files."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sealyard.client.hashing_reader import HashingFileReader
from sealyard.client.http import direct_uploads
from sealyard.client.http.errors import RetryLaterError
from sealyard.client.http.requests import ApiCalls, RequestSender, path_segment, query_params
from sealyard.client.http.transport import Request, Response
from sealyard.client.protocol import ProgressCallback
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import (
    ConflictError,
    InputMismatchError,
    InvalidInputError,
    NotFoundError,
    SealyardError,
    ServerUnreachableError,
)
from sealyard.model.requests import UploadStatus
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile

RETRY_STORE_AFTER = timedelta(minutes=10)
"""Files are sent to the server for so long, after the object store could not be used."""

log = logging.getLogger(__name__)


class _UploadState(FrozenStruct, frozen=True, kw_only=True):
    """The server's state of an upload. ``offset`` is the number of bytes received."""

    offset: int
    complete: bool
    sha256: str | None = None


class _Upload(NamedTuple):
    """An uploaded file and the id of its upload on the server."""

    file: InputFile
    id: str


class UploadCalls(ApiCalls):
    """Uploads files and maps each :class:`InputFile` to its upload id.

    The server identifies an upload by its id; callers identify it by the uploaded file.
    """

    def __init__(self, sender: RequestSender) -> None:
        super().__init__(sender)
        self._uploads: dict[InputFile, list[_Upload]] = {}
        self._direct = _DirectUploads(sender)

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        reader = HashingFileReader(path, expected_sha256, progress)
        try:
            upload_id = secrets.token_urlsafe(24)
            await _UploadSession(self._sender, reader, upload_id, self._direct).send()
        finally:
            reader.close()
        file = reader.file
        self._uploads.setdefault(file, []).append(_Upload(file, upload_id))
        return file

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        for file in files:
            upload = self._find_upload(file)
            if upload is not None:
                self._uploads[file].remove(upload)
                # The server may have deleted the upload already.
                with contextlib.suppress(NotFoundError):
                    await self._sender.send_retrying(_build_delete_request(upload.id), repeatable=True)

    def upload_ids(self, files: Iterable[InputFile]) -> list[str]:
        """Return the upload ids of ``files``.

        Raises :class:`InvalidInputError` for a file that was not uploaded by this client.
        """
        upload_ids = []
        for file in files:
            upload = self._find_upload(file)
            if upload is None:
                raise InvalidInputError(
                    f"{escape_text(file.name)} was not uploaded in this session.", "Upload the file again."
                )
            upload_ids.append(upload.id)
        return upload_ids

    def _find_upload(self, file: InputFile) -> _Upload | None:
        """Return the upload that created the object ``file``, else the last upload of an equal file.

        Callers may have copied the object.
        """
        uploads = self._uploads.get(file, [])
        return next((upload for upload in uploads if upload.file is file), uploads[-1] if uploads else None)


class _DirectUploads:
    """Sends files to the object store of the server, until that fails."""

    def __init__(self, sender: RequestSender) -> None:
        self._sender = sender
        self._failed_at: datetime | None = None

    async def try_send(self, reader: HashingFileReader, upload_id: str) -> UploadStatus | None:
        """Send a file, and return the completed upload; None if the file must be sent to the server."""
        if reader.size < direct_uploads.MIN_DIRECT_BYTES or not self._sender.object_store.is_allowed:
            return None
        if self._failed_at is not None and self._sender.now() < self._failed_at + RETRY_STORE_AFTER:
            return None
        try:
            return await direct_uploads.DirectUploadSession(self._sender, reader, upload_id).send()
        except direct_uploads.ObjectStoreFailedError as error:
            self._failed_at = self._sender.now()
            log.warning("sending files to the server: the object store cannot be used: %s", error.reason)
            return None


class _UploadSession:
    """Sends one file, with retries, until the server or its object store has received the whole file."""

    def __init__(
        self, sender: RequestSender, reader: HashingFileReader, upload_id: str, direct: _DirectUploads
    ) -> None:
        self._sender = sender
        self._direct = direct
        self._reader = reader
        self._id = upload_id
        self._path = f"/upload/{path_segment(upload_id)}"

    async def send(self) -> None:
        try:
            state = await self._direct.try_send(self._reader, self._id) or await self._send_until_complete()
            if state.sha256 != self._reader.file.sha256:
                raise InputMismatchError(
                    f"{escape_text(self._reader.name)} was corrupted during the upload.", "Upload the file again."
                )
        except ServerUnreachableError:
            raise
        except SealyardError:
            # Raise the original error even if the deletion fails: the server deletes abandoned uploads after a day.
            with contextlib.suppress(SealyardError, RetryLaterError):
                await self._sender.send_once(_build_delete_request(self._id))
            raise

    async def _send_until_complete(self) -> _UploadState:
        backoff = self._sender.new_backoff()
        state = _UploadState(offset=0, complete=False)
        offset_unknown = False
        while not state.complete:
            previous_offset = state.offset
            try:
                state = await (self._load_state() if offset_unknown else self._send_from(previous_offset))
                offset_unknown = False
            except ConflictError as error:
                # The server has received more than this client knew when the connection was lost.
                offset_unknown = True
                await backoff.wait(error)
            except (ServerUnreachableError, RetryLaterError) as error:
                offset_unknown = True
                await self._sender.wait(backoff, error)
            if state.offset > previous_offset:
                backoff.reset()
        return state

    async def _send_from(self, offset: int) -> _UploadState:
        return await self._put_content(offset, self._reader.chunks(offset), self._reader.size - offset)

    async def _load_state(self) -> _UploadState:
        """Return the server's state of the upload.

        If the server does not know the upload, it may have rejected the upload while the body was being sent. The
        client does not receive such an early response, so an upload request without a body is sent to get it.
        """
        try:
            return self._decode(await self._sender.read(self._path))
        except NotFoundError:
            return await self._put_content(0, b"", 0)

    async def _put_content(self, offset: int, content: bytes | AsyncIterable[bytes], length: int) -> _UploadState:
        request = Request(
            method="PUT",
            path=self._path,
            query=query_params(name=self._reader.name, size=self._reader.size),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(length),
                "Upload-Offset": str(offset),
            },
            content=content,
        )
        return self._decode(await self._sender.send_once(request))

    def _decode(self, response: Response) -> _UploadState:
        return self._sender.decode(response, _UploadState)


def _build_delete_request(upload_id: str) -> Request:
    return Request(method="DELETE", path=f"/upload/{path_segment(upload_id)}")
