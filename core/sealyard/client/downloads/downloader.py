"""Download the results of finished tasks once each, completely and verified."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from sealyard.client.downloads.coalesce import CoalescedCalls
from sealyard.client.downloads.events import (
    DownloadCallback,
    DownloadedFile,
    DownloadEvent,
    DownloadProgress,
    DownloadResult,
    DownloadsInterrupted,
    VerifiedBy,
)
from sealyard.client.downloads.files import (
    PartialFile,
    find_identical,
    folder_error,
    part_name,
    resolve_dir,
    safe_file_name,
)
from sealyard.client.downloads.history import DownloadHistory, default_history_path
from sealyard.client.downloads.retry_loop import follow_finished_tasks
from sealyard.client.progress import ThrottledProgress
from sealyard.client.protocol import Client, ProgressCallback
from sealyard.client.task_pages import iterate_tasks
from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from sealyard.model.clock import Clock
from sealyard.model.errors import (
    ContainerError,
    DownloadError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    StorageError,
    WorkspaceReadOnlyError,
)
from sealyard.model.events import TaskChanged
from sealyard.model.requests import TaskFilter
from sealyard.model.results import require_artifact
from sealyard.model.tasks import ResultState, Task, TaskKind, TaskStatus

__all__ = [
    "DownloadCallback",
    "DownloadEvent",
    "DownloadHistory",
    "DownloadProgress",
    "DownloadResult",
    "DownloadedFile",
    "Downloader",
    "DownloadsInterrupted",
    "VerifiedBy",
    "default_history_path",
    "safe_file_name",
]

LOCK_POLL_SECONDS = 0.2
"""Seconds between attempts to lock a partial file that another process has locked."""


class Downloader:
    """Downloads the results of one subject into one folder."""

    def __init__(self, client: Client, folder: Path, history: DownloadHistory, *, clock: Clock | None = None) -> None:
        """Prepare to download into ``folder``. Raises :class:`UsageError` if its path is not valid Unicode."""
        self._client = client
        self._folder = resolve_dir(folder)
        self._history = history
        self._clock = clock or SystemClock()
        self._transfers: CoalescedCalls[DownloadedFile] = CoalescedCalls()
        self._subject = ""

    async def download(
        self, task_id: str, *, progress: ProgressCallback | None = None, force: bool = False
    ) -> DownloadedFile:
        """Download the result of a DONE task.

        A result that is already in the folder is not transferred again unless ``force`` is set. An interrupted transfer
        is resumed. Two calls for the same task share one transfer.

        Raises :class:`ResultExpiredError` if the link has expired, :class:`ResultGoneError` if the artifact was
        deleted, :class:`ConflictError` if the task has no file to download, :class:`DownloadError` if the received
        content is not what the task produced, :class:`ContainerError` if the container's signature is invalid, and
        :class:`StorageError` if the file cannot be written.
        """
        task = await self._client.task(task_id)
        return await self._transfers.run(task.id, lambda report: self._download(task, force, report), progress)

    async def pending_tasks(self) -> tuple[Task, ...]:
        """Return the subject's DONE tasks whose file has not been downloaded yet, oldest first.

        Tasks whose result is EXPIRED or GONE (``task.result.state``) are included until :meth:`download_pending` or
        :meth:`run` has reported them, and again after a renewal.
        """
        await asyncio.to_thread(self._history.refresh)
        filters = TaskFilter(status=TaskStatus.DONE, created_by=await self._load_subject())
        pending = [task async for task in iterate_tasks(self._client, filters) if self._is_pending(task)]
        return tuple(reversed(pending))

    async def download_pending(self, on_event: DownloadCallback | None = None) -> tuple[DownloadResult, ...]:
        """Download the results of all pending tasks, oldest first, and return the outcomes.

        Continues after a failure, which is reported in the task's :class:`DownloadResult`.
        """
        return tuple([await self._attempt(task, on_event, None) for task in await self.pending_tasks()])

    async def run(self, on_event: DownloadCallback) -> None:
        """Download the results of all pending tasks, then of each task of the subject that becomes DONE or is renewed.

        Runs until it is cancelled or the engine ends its event stream; reconnects after connection failures.
        """

        async def attempt(task_id: str, retry_in: float | None) -> bool:
            try:
                task = await self._client.task(task_id)
            except SealyardError as error:
                on_event(DownloadResult(task_id=task_id, name=task_id, error=error.to_info(), retry_in=retry_in))
                return False
            return not self._is_pending(task) or (await self._attempt(task, on_event, retry_in)).retry_in is None

        await follow_finished_tasks(self._client, self.pending_tasks, self._is_relevant, attempt, on_event, self._clock)

    # ---- selection

    async def _load_subject(self) -> str:
        if not self._subject:
            self._subject = (await self._client.workspace()).subject
        return self._subject

    def _is_pending(self, task: Task) -> bool:
        result = task.result
        return result is not None and result.sha256 is not None and self._history.is_pending(task.id, result)

    def _is_relevant(self, event: TaskChanged) -> bool:
        """Return whether the event's task may have a file to download; the attempt then checks the task itself."""
        may_have_file = event.status is TaskStatus.DONE and event.kind is not TaskKind.SIGNING
        return may_have_file and event.created_by == self._subject and self._history.get(event.task_id) is None

    async def _attempt(self, task: Task, on_event: DownloadCallback | None, retry_in: float | None) -> DownloadResult:
        """Download the result of ``task``, and report and return the outcome.

        ``retry_in`` (seconds) is included in the outcome if the attempt fails and may be retried.
        """

        def report(done: int, total: int) -> None:
            if on_event is not None:
                on_event(DownloadProgress(task_id=task.id, name=task.name, bytes_done=done, bytes_total=total))

        try:
            downloaded = await self._download_and_record(task, report)
            result = DownloadResult(task_id=task.id, name=task.name, downloaded=downloaded)
        except SealyardError as error:
            is_unavailable = isinstance(error, ResultExpiredError | ResultGoneError)
            delay = None if is_unavailable else retry_in
            result = DownloadResult(task_id=task.id, name=task.name, error=error.to_info(), retry_in=delay)
        if on_event is not None:
            on_event(result)
        return result

    async def _download_and_record(self, task: Task, report: ProgressCallback) -> DownloadedFile:
        """Download the result of ``task``.

        If the link has expired or the artifact was deleted, record that in the history, so that it is reported once.
        """
        try:
            return await self.download(task.id, progress=report)
        except (ResultExpiredError, ResultGoneError) as error:
            state = ResultState.GONE if isinstance(error, ResultGoneError) else ResultState.EXPIRED
            expires_at = task.result.expires_at if task.result is not None else None
            with suppress(StorageError):  # the loss is reported again after a restart
                await asyncio.to_thread(self._history.mark_reported, task.id, state, expires_at)
            raise

    # ---- one download

    async def _download(self, task: Task, force: bool, report: ProgressCallback) -> DownloadedFile:
        result = require_artifact(task)
        assert result.size is not None
        assert result.sha256 is not None
        size, sha256, name = result.size, result.sha256, safe_file_name(result.file_name, task.id)
        part = await self._acquire_part(self._folder / part_name(name, task.id))
        try:
            existing_path = None if force else await self._find_existing_file(name, size, sha256)
            if existing_path is None:
                await self._transfer(task.id, part, size, sha256, report)
            elif recorded_file := await self._find_recorded_file(task.id, existing_path):
                return msgspec.structs.replace(recorded_file, was_on_disk=True)
            was_on_disk = existing_path is not None
            verified_by, warnings = await self._verify(task, part, existing_path)
            existing_path = existing_path or await self._find_existing_file(name, size, sha256)
            path = existing_path or await run_cancellable(lambda _: part.commit(name))
            if existing_path is not None:
                part.remove()
            report(size, size)
            warnings += await self._report_downloaded(task.id)
            downloaded = DownloadedFile(
                task_id=task.id,
                path=str(path),
                size=size,
                sha256=sha256,
                checked=verified_by,
                at=self._clock.now(),
                warnings=warnings,
            )
            return msgspec.structs.replace(await self._record(downloaded), was_on_disk=was_on_disk)
        finally:
            part.close()

    async def _report_downloaded(self, task_id: str) -> tuple[str, ...]:
        """Report the download for the audit log. Returns a warning if the workspace is read-only."""
        try:
            await self._client.report_downloaded(task_id)
        except WorkspaceReadOnlyError:
            return ("The workspace is read-only: its audit log does not record this download.",)
        return ()

    async def _record(self, downloaded: DownloadedFile) -> DownloadedFile:
        """Record a download. If the history cannot be written, the download is complete all the same: add a warning."""
        try:
            await asyncio.to_thread(self._history.mark_downloaded, downloaded)
        except StorageError as error:
            warning = f"Later downloads do not know of this one. {error}"
            return msgspec.structs.replace(downloaded, warnings=(*downloaded.warnings, warning))
        return downloaded

    async def _acquire_part(self, path: Path) -> PartialFile:
        while (part := PartialFile.acquire(path)) is None:
            await self._clock.sleep(LOCK_POLL_SECONDS)
        return part

    async def _find_existing_file(self, name: str, size: int, sha256: str) -> Path | None:
        return await run_cancellable(
            lambda check_cancelled: find_identical(self._folder, name, size, sha256, check_cancelled)
        )

    async def _find_recorded_file(self, task_id: str, path: Path) -> DownloadedFile | None:
        await asyncio.to_thread(self._history.refresh)
        recorded_file = self._history.get(task_id)
        return recorded_file if recorded_file is not None and recorded_file.path == str(path) else None

    async def _transfer(
        self, task_id: str, part: PartialFile, size: int, sha256: str, report: ProgressCallback
    ) -> None:
        """Download the missing rest of the artifact into ``part``, and check size and digest.

        Completion is not reported here: the caller reports it after it has verified the file.
        """
        progress = ThrottledProgress(report, size)
        hasher = hashlib.sha256()

        def build_append_call(chunk: bytes) -> Callable[[CheckCancelled], None]:
            def append(_: CheckCancelled) -> None:
                part.append(chunk)
                hasher.update(chunk)

            return append

        bytes_done = await run_cancellable(lambda check_cancelled: part.hash_into(hasher, size, check_cancelled))
        async for chunk in self._client.download(task_id, offset=bytes_done):
            bytes_done += len(chunk)
            if bytes_done > size:
                break
            await run_cancellable(build_append_call(chunk))
            if bytes_done < size:
                progress.update(bytes_done)
        if bytes_done < size:
            raise DownloadError(
                f"The download of task {task_id} stopped after {bytes_done:,} of {size:,} bytes.",
                "Download it again; the download resumes.",
            )
        if bytes_done > size or hasher.hexdigest() != sha256:
            part.remove()
            raise DownloadError(
                f"SHA-256 mismatch: the download of task {task_id} differs from its result. The file was removed.",
                "Download it again; if that fails, contact the administrator of the workspace.",
            )

    async def _verify(
        self, task: Task, part: PartialFile, existing_path: Path | None
    ) -> tuple[VerifiedBy, tuple[str, ...]]:
        """Verify the file at ``existing_path`` or, if that is None, the partial file ``part``.

        Returns how the file was verified, and the warnings. Removes ``part`` if the container's signature is invalid.
        """
        if task.kind is not TaskKind.PACKAGING:
            return VerifiedBy.DIGEST, ()
        certificate = await self._client.certificate(task.id)
        path = existing_path or part.path
        try:
            warnings = await run_cancellable(
                lambda check_cancelled: _verify_container(task.format, path, certificate, check_cancelled)
            )
        except ContainerError:
            part.remove()
            raise
        except OSError as error:
            # The user may have deleted the file. A StorageError fails only this download; an OSError would stop all of
            # the downloads.
            raise folder_error(error, path.parent) from error
        return VerifiedBy.SIGNATURE, warnings


def _verify_container(
    format_name: str, path: Path, certificate: str, check_cancelled: CheckCancelled
) -> tuple[str, ...]:
    # The container formats import cryptography, which is slow: import them only to verify a container.
    from sealyard.containers.registry import get_format

    with path.open("rb") as file:
        return get_format(format_name).verify(file, certificate.encode(), progress=check_cancelled).warnings
