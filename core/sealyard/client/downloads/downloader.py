"""Download the results of finished tasks: complete, verified, and each of them once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

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

LOCK_SECONDS = 0.2
"""Interval between attempts to lock a partial file that another process has locked."""


class Downloader:
    """Downloads the results of one subject into one folder."""

    def __init__(self, client: Client, folder: Path, history: DownloadHistory, *, clock: Clock | None = None) -> None:
        """Raises :class:`UsageError` if the folder's path is not valid Unicode."""
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

        A result that is in the folder already is not transferred again, unless ``force``. An interrupted transfer is
        resumed. Two calls for the same task share one transfer.

        Raises :class:`ResultExpiredError`, :class:`ResultGoneError`, :class:`ConflictError` if the task has no file
        to download, :class:`DownloadError` if the received content differs from what the task produced,
        :class:`ContainerError` if its signature is invalid, :class:`StorageError`.
        """
        task = await self._client.task(task_id)
        return await self._transfers.run(task.id, lambda report: self._download(task, force, report), progress)

    async def pending_tasks(self) -> tuple[Task, ...]:
        """Return the subject's DONE tasks whose file was not downloaded yet, oldest first.

        Tasks whose result is EXPIRED or GONE (``task.result.state``) are included until :meth:`download_pending` or
        :meth:`run` has reported them, and again after a renewal.
        """
        await asyncio.to_thread(self._history.refresh)
        filters = TaskFilter(status=TaskStatus.DONE, created_by=await self._load_subject())
        pending = [task async for task in iterate_tasks(self._client, filters) if self._is_pending(task)]
        return tuple(reversed(pending))

    async def download_pending(self, on_event: DownloadCallback | None = None) -> tuple[DownloadResult, ...]:
        """Download all pending tasks, oldest first, and return their results.

        Continues after a failure and reports it in the task's result.
        """
        return tuple([await self._attempt(task, on_event, None) for task in await self.pending_tasks()])

    async def run(self, on_event: DownloadCallback) -> None:
        """Download all pending tasks, then each task of the subject once it is DONE or renewed.

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
        """Return whether the event's task may need a download; the task itself decides it."""
        done = event.status is TaskStatus.DONE and event.kind is not TaskKind.SIGNING
        return done and event.created_by == self._subject and self._history.get(event.task_id) is None

    async def _attempt(self, task: Task, on_event: DownloadCallback | None, retry_in: float | None) -> DownloadResult:
        """Download one task and report the result; ``retry_in`` is reported if the attempt fails and may be retried."""

        def report(done: int, total: int) -> None:
            if on_event is not None:
                on_event(DownloadProgress(task_id=task.id, name=task.name, bytes_done=done, bytes_total=total))

        try:
            downloaded = await self._download_and_record(task, report)
            result = DownloadResult(task_id=task.id, name=task.name, downloaded=downloaded)
        except SealyardError as error:
            unavailable = isinstance(error, ResultExpiredError | ResultGoneError)
            delay = None if unavailable else retry_in
            result = DownloadResult(task_id=task.id, name=task.name, error=error.to_info(), retry_in=delay)
        if on_event is not None:
            on_event(result)
        return result

    async def _download_and_record(self, task: Task, report: ProgressCallback) -> DownloadedFile:
        """Download one task, and record in the history an expired or deleted result, so that it is reported once."""
        try:
            return await self.download(task.id, progress=report)
        except (ResultExpiredError, ResultGoneError) as error:
            state = ResultState.GONE if isinstance(error, ResultGoneError) else ResultState.EXPIRED
            expires_at = task.result.expires_at if task.result is not None else None
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
            existing = None if force else await self._find_existing(name, size, sha256)
            if existing is None:
                await self._transfer(task.id, part, size, sha256, report)
            elif recorded := await self._find_recorded(task.id, existing):
                return recorded
            checked, warnings = await self._verify(task, part, existing)
            existing = existing or await self._find_existing(name, size, sha256)
            path = existing or await run_cancellable(lambda _: part.commit(name))
            if existing is not None:
                part.remove()
            report(size, size)
            await self._client.report_downloaded(task.id)
            downloaded = DownloadedFile(
                task_id=task.id,
                path=str(path),
                size=size,
                sha256=sha256,
                checked=checked,
                at=self._clock.now(),
                warnings=warnings,
            )
            await asyncio.to_thread(self._history.mark_downloaded, downloaded)
            return downloaded
        finally:
            part.close()

    async def _acquire_part(self, path: Path) -> PartialFile:
        while (part := PartialFile.acquire(path)) is None:
            await self._clock.sleep(LOCK_SECONDS)
        return part

    async def _find_existing(self, name: str, size: int, sha256: str) -> Path | None:
        return await run_cancellable(
            lambda check_cancelled: find_identical(self._folder, name, size, sha256, check_cancelled)
        )

    async def _find_recorded(self, task_id: str, path: Path) -> DownloadedFile | None:
        await asyncio.to_thread(self._history.refresh)
        recorded = self._history.get(task_id)
        return recorded if recorded is not None and recorded.path == str(path) else None

    async def _transfer(
        self, task_id: str, part: PartialFile, size: int, sha256: str, report: ProgressCallback
    ) -> None:
        """Download into ``part`` what it does not contain yet, and check size and digest.

        The last bytes are not reported: the download is complete once its caller has verified it.
        """
        progress = ThrottledProgress(report, size)
        digest = hashlib.sha256()

        def appender(chunk: bytes) -> Callable[[CheckCancelled], None]:
            def work(_: CheckCancelled) -> None:
                part.append(chunk)
                digest.update(chunk)

            return work

        done = await run_cancellable(lambda check_cancelled: part.hash_into(digest, size, check_cancelled))
        async for chunk in self._client.download(task_id, offset=done):
            done += len(chunk)
            if done > size:
                break
            await run_cancellable(appender(chunk))
            if done < size:
                progress.update(done)
        if done < size:
            raise DownloadError(
                f"The download of task {task_id} stopped after {done:,} of {size:,} bytes.",
                "Download it again; the download resumes.",
            )
        if done > size or digest.hexdigest() != sha256:
            part.remove()
            raise DownloadError(
                f"SHA-256 mismatch: the download of task {task_id} differs from its result. The file was removed.",
                "Download it again; if that fails, contact the administrator of the workspace.",
            )

    async def _verify(self, task: Task, part: PartialFile, existing: Path | None) -> tuple[VerifiedBy, tuple[str, ...]]:
        """Verify the downloaded or existing file, and return how it was verified and the warnings.

        Removes the partial file if the signature of the container is invalid.
        """
        if task.kind is not TaskKind.PACKAGING:
            return VerifiedBy.DIGEST, ()
        certificate = await self._client.certificate(task.id)
        path = existing or part.path
        try:
            warnings = await run_cancellable(
                lambda check_cancelled: _verify_container(task.format, path, certificate, check_cancelled)
            )
        except ContainerError:
            part.remove()
            raise
        except OSError as error:
            # The user may have deleted the file. A StorageError fails this download only; an OSError would end all.
            raise folder_error(error, path.parent) from error
        return VerifiedBy.SIGNATURE, warnings


def _verify_container(
    format_name: str, path: Path, certificate: str, check_cancelled: CheckCancelled
) -> tuple[str, ...]:
    # The container formats import cryptography, so they are loaded only when there is a container to verify.
    from sealyard.containers.registry import get_format

    with path.open("rb") as file:
        return get_format(format_name).verify(file, certificate.encode(), progress=check_cancelled).warnings
