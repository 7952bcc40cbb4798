"""The upload queue of a form. It uploads a few files at a time and discards uploads that no task uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sealyard.client.protocol import Client
from sealyard.metadata.checks import metadata_warning
from sealyard.metadata.fields import MAX_BYTES
from sealyard.metadata.formats import metadata_format
from sealyard.model.errors import InvalidInputError, SealyardError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.tasks import InputFile, Task, TaskKind
from sealyard_tui.screens.upload.form_model import FileFingerprint, FileRole, FormFile, UploadForm

log = logging.getLogger(__name__)

MAX_PARALLEL = 2
"""Maximum number of parallel uploads. More would not be faster on a single disk."""


class UploadQueue:
    """Queue for uploading the files of one form.

    ``on_change`` is called on the event loop after the queue has changed the form.
    """

    def __init__(self, client: Client, form: UploadForm, on_change: Callable[[UploadForm], None]) -> None:
        self.form = form
        self._client = client
        self._on_change = on_change
        self._slots = asyncio.Semaphore(MAX_PARALLEL)
        self._uploads: dict[str, asyncio.Task[None]] = {}
        self._background_tasks: set[asyncio.Task[None]] = set()

    def start(self, key: str) -> None:
        """Start or restart the upload of a file. Progress and errors are stored in the form."""
        self._stop(key)
        entry = self.form.get_entry(key)
        if entry is None:
            return
        if entry.file is not None:
            self._discard_soon([entry.file])
        self._change(key, file=None, fingerprint=None, error=None, uploaded_bytes=0, syntax_warning="")
        self._uploads[key] = asyncio.create_task(self._upload(entry))

    def remove(self, keys: list[str]) -> None:
        """Remove files from the form and discard their uploads."""
        entries = [entry for key in keys if (entry := self.form.get_entry(key)) is not None]
        for key in keys:
            self._stop(key)
        self.form.remove(keys)
        self._discard_soon(_list_uploaded_files(entries))
        self._on_change(self.form)

    async def close(self) -> None:
        """Cancel running uploads, and discard the uploaded files of the form."""
        tasks = [*self._uploads.values(), *self._background_tasks]
        for task in self._uploads.values():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._discard(_list_uploaded_files(self.form.entries))

    async def find_modified_files(self) -> list[FormFile]:
        """Return the files that have changed on disk since they were uploaded."""

        def find_modified() -> list[FormFile]:
            return [
                each
                for each in self.form.entries
                if each.fingerprint is not None and _read_fingerprint(each.path) != each.fingerprint
            ]

        return await asyncio.to_thread(find_modified)

    async def submit(self, *, signs_digests: bool) -> Task:
        """Create the task from the form, and return it. The form is not changed.

        ``signs_digests``: whether the signing algorithm signs a digest. Raises errors of :mod:`sealyard.model.errors`.
        """
        form = self.form
        if form.kind is TaskKind.SIGNING:
            return await self._sign(signs_digests=signs_digests)
        request = form.build_request()
        if form.kind is TaskKind.ENCRYPTION:
            return await self._client.create_encryption(cast(EncryptionRequest, request))
        return await self._client.create_package(cast(PackageRequest, request))

    async def _sign(self, *, signs_digests: bool) -> Task:
        entry = self.form.get_files(FileRole.FIRMWARE)[0]
        assert entry.file is not None
        if signs_digests and self.form.hash_file:
            message = bytes.fromhex(entry.file.sha256)
        else:
            message = await asyncio.to_thread(_read_file, entry)
        task = await self._client.create_signing(cast(SigningRequest, self.form.build_request(message)))
        # The request contains the message. The file was uploaded only to compute its digest.
        self._discard_soon([entry.file])
        return task

    async def _upload(self, entry: FormFile) -> None:
        loop = asyncio.get_running_loop()

        def report_progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(self._on_progress, entry.key, done, total)

        fingerprint = await asyncio.to_thread(_read_fingerprint, entry.path)
        self._change(entry.key, size=fingerprint.size if fingerprint is not None else 0)
        async with self._slots:
            try:
                file = await self._client.upload(
                    entry.path, expected_sha256=entry.expected_sha256 or None, progress=report_progress
                )
            except SealyardError as error:
                self._change(entry.key, error=error)
            except Exception as error:
                log.exception("unexpected error while uploading a file")
                unexpected_error = InvalidInputError(
                    f"{entry.name} cannot be uploaded ({type(error).__name__}).", "See the log."
                )
                self._change(entry.key, error=unexpected_error)
            else:
                warning = await asyncio.to_thread(_check_syntax, entry.path)
                self._change(
                    entry.key,
                    file=file,
                    size=file.size,
                    uploaded_bytes=file.size,
                    fingerprint=fingerprint,
                    syntax_warning=warning,
                )

    def _on_progress(self, key: str, uploaded_bytes: int, total: int) -> None:
        entry = self.form.get_entry(key)
        if entry is not None and entry.is_pending:
            self._change(key, uploaded_bytes=uploaded_bytes, size=total)

    def _change(self, key: str, **changes: object) -> None:
        if self.form.change(key, **changes) is not None:
            self._on_change(self.form)

    def _stop(self, key: str) -> None:
        task = self._uploads.pop(key, None)
        if task is not None:
            task.cancel()

    def _discard_soon(self, files: list[InputFile]) -> None:
        if files:
            self._run_in_background(self._discard(files))

    async def _discard(self, files: list[InputFile]) -> None:
        with suppress(SealyardError):  # If this fails, the engine removes the uploads later.
            await self._client.discard_uploads(tuple(files))

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)


def _list_uploaded_files(entries: list[FormFile]) -> list[InputFile]:
    return [each.file for each in entries if each.file is not None]


def _read_fingerprint(path: Path) -> FileFingerprint | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return FileFingerprint(size=status.st_size, mtime_ns=status.st_mtime_ns)


def _check_syntax(path: Path) -> str:
    """Return a warning if a metadata file cannot be parsed. The engine checks the uploaded content again."""
    if metadata_format(path.name) is None:
        return ""
    try:
        with path.open("rb") as file:
            return metadata_warning(path.name, file.read(MAX_BYTES + 1))
    except (OSError, ValueError):
        return ""


def _read_file(entry: FormFile) -> bytes:
    """Read a file. Raises :class:`InvalidInputError` if it has changed since the upload, or cannot be read."""
    if _read_fingerprint(entry.path) != entry.fingerprint:
        raise InvalidInputError(f"{entry.name} changed since it was uploaded.", "Upload it again.")
    try:
        return entry.path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{entry.name} cannot be read ({error.strerror}).", "Check the file.") from error
