"""Files handed in to a server: streamed from the disk, resumed where the line broke, remembered by the upload's id."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterable, Iterable
from pathlib import Path
from typing import NamedTuple

from sealyard.client.http.errors import RetryLaterError
from sealyard.client.http.hashing_reader import HashingFileReader
from sealyard.client.http.requests import ApiCalls, RequestSender, path_segment, query_params
from sealyard.client.http.transport import Request, Response
from sealyard.client.protocol import ProgressCallback
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError, SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile


class _State(FrozenStruct, frozen=True, kw_only=True):
    offset: int
    complete: bool
    sha256: str | None = None


class _Upload(NamedTuple):
    file: InputFile
    id: str


class UploadCalls(ApiCalls):
    """The server knows an upload by the id that it came under, its client by what is in it."""

    def __init__(self, calls: RequestSender) -> None:
        super().__init__(calls)
        self._uploads: dict[InputFile, list[_Upload]] = {}

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        reading = HashingFileReader(path, expected_sha256, progress)
        try:
            upload_id = secrets.token_urlsafe(24)
            await _UploadSession(self._calls, reading, upload_id).send()
        finally:
            reading.close()
        file = reading.file
        self._uploads.setdefault(file, []).append(_Upload(file, upload_id))
        return file

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        for file in files:
            upload = self._upload(file)
            if upload is not None:
                self._uploads[file].remove(upload)
                # Whether it is there or not.
                with contextlib.suppress(NotFoundError):
                    await self._calls.send_retrying(_deletion(upload.id), repeatable=True)

    def ids(self, files: Iterable[InputFile]) -> list[str]:
        """The uploads that they came under. Raises :class:`InvalidInputError` for what was not handed in here."""
        found = []
        for file in files:
            upload = self._upload(file)
            if upload is None:
                raise InvalidInputError(f"{escape_text(file.name)} was not handed in here.", "Hand the file in again.")
            found.append(upload.id)
        return found

    def _upload(self, file: InputFile) -> _Upload | None:
        """This very one; else one like it, for values may be copied."""
        alike = self._uploads.get(file, [])
        return next((each for each in alike if each.file is file), alike[-1] if alike else None)


class _UploadSession:
    """One upload, until the server has all of it."""

    def __init__(self, calls: RequestSender, reading: HashingFileReader, upload_id: str) -> None:
        self._calls = calls
        self._reading = reading
        self._id = upload_id
        self._path = f"/upload/{path_segment(upload_id)}"

    async def send(self) -> None:
        try:
            state = await self._until_complete()
            if state.sha256 != self._reading.file.sha256:
                raise InvalidInputError(
                    f"{escape_text(self._reading.name)} did not arrive as it was sent.", "Hand the file in again."
                )
        except ServerUnreachableError:
            raise
        except SealyardError:
            # What was wrong is what counts; what is left over there goes by itself after a day.
            with contextlib.suppress(SealyardError, RetryLaterError):
                await self._calls.send_once(_deletion(self._id))
            raise

    async def _until_complete(self) -> _State:
        tries = self._calls.new_backoff()
        state = _State(offset=0, complete=False)
        lost = False
        while not state.complete:
            before = state.offset
            try:
                state = await (self._server_offset() if lost else self._rest(before))
                lost = False
            except ConflictError as error:
                # The server has more of it than was thought: a line that broke here ends later over there.
                lost = True
                await tries.wait(error)
            except (ServerUnreachableError, RetryLaterError) as error:
                lost = True
                await self._calls.wait(tries, error)
            if state.offset > before:
                tries.reset()
        return state

    async def _rest(self, offset: int) -> _State:
        return await self._put_chunk(offset, self._reading.chunks(offset), self._reading.size - offset)

    async def _server_offset(self) -> _State:
        """What the server has of it.

        Where it never heard of it, it may have refused it: the word for that gets lost where it comes in the middle
        of a body. So it is asked whether it takes the upload, without a body.
        """
        try:
            return self._state(await self._calls.read(self._path))
        except NotFoundError:
            return await self._put_chunk(0, b"", 0)

    async def _put_chunk(self, offset: int, content: bytes | AsyncIterable[bytes], length: int) -> _State:
        call = Request(
            method="PUT",
            path=self._path,
            query=query_params(name=self._reading.name, size=self._reading.size),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(length),
                "Upload-Offset": str(offset),
            },
            content=content,
        )
        return self._state(await self._calls.send_once(call))

    def _state(self, answer: Response) -> _State:
        return self._calls.decoded(answer, _State)


def _deletion(upload_id: str) -> Request:
    return Request(method="DELETE", path=f"/upload/{path_segment(upload_id)}")
