"""Uploads the files of one form, a few at a time, and discards those that do not become part of a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sealyard.client.protocol import Client
from sealyard.model.errors import InvalidInputError, SealyardError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.tasks import InputFile, Task, TaskKind
from sealyard_tui.screens.upload.form_model import FileFingerprint, FileRole, FormFile, UploadForm

log = logging.getLogger(__name__)

MAX_PARALLEL = 2
"""Parallel uploads: more would not be faster on one disk."""


class UploadQueue:
    """``on_change`` is called, on the loop, for each change of the form."""

    def __init__(self, client: Client, form: UploadForm, on_change: Callable[[UploadForm], None]) -> None:
        self.form = form
        self._client = client
        self._on_change = on_change
        self._slots = asyncio.Semaphore(MAX_PARALLEL)
        self._uploads: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()

    def start(self, key: str) -> None:
        """Upload a file, or upload it again; progress and errors are stored in the form."""
        self._stop(key)
        entry = self.form.entry(key)
        if entry is None:
            return
        if entry.file is not None:
            self._discard_soon([entry.file])
        self._change(key, file=None, stamp=None, error=None, done=0)
        self._uploads[key] = asyncio.create_task(self._upload(entry))

    def remove(self, keys: list[str]) -> None:
        """Remove files from the form and discard their uploads."""
        removed = [entry for key in keys if (entry := self.form.entry(key)) is not None]
        for key in keys:
            self._stop(key)
        self.form.remove(keys)
        self._discard_soon(_files(removed))
        self._on_change(self.form)

    async def close(self) -> None:
        """Cancel and discard all uploads."""
        running = [*self._uploads.values(), *self._others]
        for task in self._uploads.values():
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._discard(_files(self.form.entries))

    async def modified_files(self) -> list[FormFile]:
        """Return the files that changed on disk since the upload."""

        def look() -> list[FormFile]:
            return [each for each in self.form.entries if each.stamp is not None and _stamp(each.path) != each.stamp]

        return await asyncio.to_thread(look)

    async def submit(self, *, signs_digests: bool) -> Task:
        """Create the task. Raises what creating it raises; the form is then unchanged."""
        form = self.form
        if form.kind is TaskKind.SIGNING:
            return await self._sign(signs_digests=signs_digests)
        request = form.request()
        if form.kind is TaskKind.ENCRYPTION:
            return await self._client.create_encryption(cast(EncryptionRequest, request))
        return await self._client.create_package(cast(PackageRequest, request))

    async def _sign(self, *, signs_digests: bool) -> Task:
        entry = self.form.of(FileRole.FIRMWARE)[0]
        assert entry.file is not None
        if signs_digests and self.form.hash_file:
            message = bytes.fromhex(entry.file.sha256)
        else:
            message = await asyncio.to_thread(_read, entry)
        task = await self._client.create_signing(cast(SigningRequest, self.form.request(message)))
        # The request has the message itself: the upload was needed for its digest only.
        self._discard_soon([entry.file])
        return task

    async def _upload(self, entry: FormFile) -> None:
        loop = asyncio.get_running_loop()

        def progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(self._progressed, entry.key, done, total)

        stamp = await asyncio.to_thread(_stamp, entry.path)
        self._change(entry.key, size=stamp.size if stamp is not None else 0)
        async with self._slots:
            try:
                file = await self._client.upload(entry.path, expected_sha256=entry.expected or None, progress=progress)
            except SealyardError as error:
                self._change(entry.key, error=error)
            except Exception as error:
                log.exception("unexpected error while uploading a file")
                unexpected = InvalidInputError(
                    f"{entry.name} cannot be uploaded ({type(error).__name__}).", "See the log."
                )
                self._change(entry.key, error=unexpected)
            else:
                self._change(entry.key, file=file, size=file.size, done=file.size, stamp=stamp)

    def _progressed(self, key: str, done: int, total: int) -> None:
        entry = self.form.entry(key)
        if entry is not None and entry.is_pending:
            self._change(key, done=done, size=total)

    def _change(self, key: str, **changes: object) -> None:
        if self.form.change(key, **changes) is not None:
            self._on_change(self.form)

    def _stop(self, key: str) -> None:
        running = self._uploads.pop(key, None)
        if running is not None:
            running.cancel()

    def _discard_soon(self, files: list[InputFile]) -> None:
        if files:
            self._spawn(self._discard(files))

    async def _discard(self, files: list[InputFile]) -> None:
        with suppress(SealyardError):  # the engine removes unclaimed uploads by itself
            await self._client.discard_uploads(tuple(files))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)


def _files(entries: list[FormFile]) -> list[InputFile]:
    return [each.file for each in entries if each.file is not None]


def _stamp(path: Path) -> FileFingerprint | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return FileFingerprint(size=found.st_size, modified=found.st_mtime_ns)


def _read(entry: FormFile) -> bytes:
    """Read a file. Raises :class:`InvalidInputError` if it changed since the upload."""
    if _stamp(entry.path) != entry.stamp:
        raise InvalidInputError(f"{entry.name} changed since it was uploaded.", "Upload it again (u).")
    try:
        return entry.path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{entry.name} cannot be read ({error.strerror}).", "Check the file.") from error
