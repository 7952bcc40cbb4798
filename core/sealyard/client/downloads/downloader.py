"""Finished tasks come down by themselves: whole, checked, and each of them once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

from sealyard.client.downloads.coalesce import CoalescedCalls, ThrottledProgress
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
from sealyard.client.protocol import Client, ProgressCallback
from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from sealyard.model.clock import Clock
from sealyard.model.errors import (
    ConflictError,
    ContainerError,
    DownloadError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
)
from sealyard.model.events import TaskChanged
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Result, ResultState, Task, TaskKind, TaskStatus

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

PAGE = 500
LOCK_SECONDS = 0.2
"""Between two looks whether another process has let go of a part."""


class Downloader:
    """The results of one subject, on their way into one folder."""

    def __init__(self, client: Client, folder: Path, state: DownloadHistory, *, clock: Clock | None = None) -> None:
        """Raises :class:`UsageError` where the folder's name is not valid Unicode."""
        self._client = client
        self._folder = resolve_dir(folder)
        self._state = state
        self._clock = clock or SystemClock()
        self._running: CoalescedCalls[DownloadedFile] = CoalescedCalls()
        self._subject = ""

    async def download(
        self, task_id: str, *, progress: ProgressCallback | None = None, again: bool = False
    ) -> DownloadedFile:
        """The result of a DONE task. One that lies there already is not transferred anew, unless ``again``.

        An interrupted transfer is taken up where it ended. Two calls for the same task share one transfer.
        Raises :class:`ResultExpiredError`, :class:`ResultGoneError`, :class:`ConflictError` where there is no file
        to fetch, :class:`DownloadError` where what came is not what the task made, :class:`ContainerError` where
        its signature does not hold, :class:`StorageError`.
        """
        task = await self._client.task(task_id)
        return await self._running.run(task.id, lambda tell: self._fetch(task, again, tell), progress)

    async def pending(self) -> tuple[Task, ...]:
        """My DONE tasks whose file was not fetched, oldest first.

        Those EXPIRED or GONE (``task.result.state``) are among them until they were told of by :meth:`fetch_all`
        or :meth:`run`, and again after a renewal.
        """
        await asyncio.to_thread(self._state.refresh)
        filters = TaskFilter(status=TaskStatus.DONE, created_by=await self._me())
        found: list[Task] = []
        after: str | None = None
        while True:
            page = await self._client.tasks(filters, after=after, limit=PAGE)
            found.extend(task for task in page.tasks if self._is_pending(task))
            after = page.next
            if after is None:
                return tuple(reversed(found))

    async def download_pending(self, on_event: DownloadCallback | None = None) -> tuple[DownloadResult, ...]:
        """Each pending one, oldest first; what fails is in the outcomes and keeps none from the others."""
        return tuple([await self._outcome(task, on_event or _unheard, None) for task in await self.pending()])

    async def run(self, on_event: DownloadCallback) -> None:
        """Fetches what is pending, then each task of mine as it is DONE or renewed.

        Ends when cancelled, or when the engine ends its events; a broken connection is made again.
        """

        async def attempt(task_id: str, retry_in: float | None) -> bool:
            try:
                task = await self._client.task(task_id)
            except SealyardError as error:
                on_event(DownloadResult(task_id=task_id, name=task_id, error=error.to_info(), retry_in=retry_in))
                return False
            return not self._is_pending(task) or (await self._outcome(task, on_event, retry_in)).retry_in is None

        await follow_finished_tasks(self._client, self.pending, self._is_relevant, attempt, on_event, self._clock)

    # ---- which

    async def _me(self) -> str:
        if not self._subject:
            self._subject = (await self._client.workspace()).subject
        return self._subject

    def _is_pending(self, task: Task) -> bool:
        result = task.result
        return result is not None and result.sha256 is not None and self._state.is_pending(task.id, result)

    def _is_relevant(self, event: TaskChanged) -> bool:
        """What may be wanted; whether it is, the task itself says."""
        done = event.status is TaskStatus.DONE and event.kind is not TaskKind.SIGNING
        return done and event.created_by == self._subject and self._state.get(event.task_id) is None

    async def _outcome(self, task: Task, on_event: DownloadCallback, retry_in: float | None) -> DownloadResult:
        def tell(done: int, total: int) -> None:
            on_event(DownloadProgress(task_id=task.id, name=task.name, bytes_done=done, bytes_total=total))

        try:
            downloaded = await self._download_and_record(task, tell)
            outcome = DownloadResult(task_id=task.id, name=task.name, downloaded=downloaded)
        except SealyardError as error:
            over = isinstance(error, ResultExpiredError | ResultGoneError)
            pause = None if over else retry_in
            outcome = DownloadResult(task_id=task.id, name=task.name, error=error.to_info(), retry_in=pause)
        on_event(outcome)
        return outcome

    async def _download_and_record(self, task: Task, tell: ProgressCallback) -> DownloadedFile:
        """What is over is noted, so that it is told once."""
        try:
            return await self.download(task.id, progress=tell)
        except (ResultExpiredError, ResultGoneError) as error:
            state = ResultState.GONE if isinstance(error, ResultGoneError) else ResultState.EXPIRED
            expires_at = task.result.expires_at if task.result is not None else None
            await asyncio.to_thread(self._state.mark_reported, task.id, state, expires_at)
            raise

    # ---- one

    async def _fetch(self, task: Task, again: bool, tell: ThrottledProgress) -> DownloadedFile:
        size, sha256, name = _artifact(task)
        part = await self._acquire_part(self._folder / part_name(name, task.id))
        try:
            same = None if again else await self._find_existing(name, size, sha256)
            if same is None:
                await self._transfer(task.id, part, size, sha256, tell)
            elif recorded := self._recorded(task.id, same):
                return recorded
            checked, warnings = await self._verify(task, part, same)
            same = same or await self._find_existing(name, size, sha256)
            path = same or await run_cancellable(lambda _: part.commit(name))
            if same is not None:
                part.remove()
            tell.end(size)
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
            await asyncio.to_thread(self._state.mark_downloaded, downloaded)
            return downloaded
        finally:
            part.close()

    async def _acquire_part(self, path: Path) -> PartialFile:
        while (part := PartialFile.acquire(path)) is None:
            await self._clock.sleep(LOCK_SECONDS)
        return part

    async def _find_existing(self, name: str, size: int, sha256: str) -> Path | None:
        return await run_cancellable(lambda go_on: find_identical(self._folder, name, size, sha256, go_on))

    def _recorded(self, task_id: str, path: Path) -> DownloadedFile | None:
        self._state.refresh()
        recorded = self._state.get(task_id)
        return recorded if recorded is not None and recorded.path == str(path) else None

    async def _transfer(self, task_id: str, part: PartialFile, size: int, sha256: str, tell: ThrottledProgress) -> None:
        digest = hashlib.sha256()

        def add(chunk: bytes) -> Callable[[CheckCancelled], None]:
            def work(_: CheckCancelled) -> None:
                part.append(chunk)
                digest.update(chunk)

            return work

        done = await run_cancellable(lambda go_on: part.hash_into(digest, size, go_on))
        async for chunk in self._client.download(task_id, offset=done):
            done += len(chunk)
            if done > size:
                break
            await run_cancellable(add(chunk))
            tell(done, size)
        if done < size:
            raise DownloadError(
                f"The download of task {task_id} ended after {done:,} of {size:,} bytes.",
                "Download it again: it goes on from there.",
            )
        if done > size or digest.hexdigest() != sha256:
            part.remove()
            raise DownloadError(
                f"What came down for task {task_id} is not what the task made: the SHA-256 is another.",
                "It was removed. Download it again; if that does not help, tell who runs the engine.",
            )

    async def _verify(self, task: Task, part: PartialFile, same: Path | None) -> tuple[VerifiedBy, tuple[str, ...]]:
        """A container that came down and whose signature does not hold is removed."""
        if task.kind is not TaskKind.PACKAGING:
            return VerifiedBy.DIGEST, ()
        certificate = await self._client.certificate(task.id)
        path = same or part.path
        try:
            warnings = await run_cancellable(lambda go_on: _verify(task.format, path, certificate, go_on))
        except ContainerError:
            part.remove()
            raise
        except OSError as error:
            # Somebody may have tidied it away: that is no reason to end the other downloads too.
            raise folder_error(error, path.parent) from error
        return VerifiedBy.SIGNATURE, warnings


def _artifact(task: Task) -> tuple[int, str, str]:
    """Size, SHA-256 and local name."""
    result: Result | None = task.result
    if task.status is not TaskStatus.DONE or result is None:
        reason = f" {task.reason}" if task.reason else ""
        raise ConflictError(f"Task {task.id} is {task.status}: it has no result.{reason}", "Wait until it is DONE.")
    if result.sha256 is None or result.size is None:
        raise ConflictError("The outcome of a signing task is a string.", "It stands in the task: sealyard show.")
    return result.size, result.sha256, safe_file_name(result.file_name, task.id)


def _verify(format_name: str, path: Path, certificate: str, go_on: CheckCancelled) -> tuple[str, ...]:
    # The readers bring cryptography with them: loaded when the first container has come.
    from sealyard.containers.registry import get_format

    with path.open("rb") as file:
        return get_format(format_name).verify(file, certificate.encode(), progress=go_on).warnings


def _unheard(_: DownloadEvent) -> None:
    return None
