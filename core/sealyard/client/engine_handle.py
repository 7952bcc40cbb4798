"""Handle on the engine of one workspace. The engine runs in this process, on its own thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.embedded_calls import EMBEDDED_TRUST_NOTE
from sealyard.concurrency.loop_thread import LoopThread, wait_for_other_tasks
from sealyard.concurrency.threads import submit, wait_uninterrupted
from sealyard.engine.devices.key_monitor import CHECK_INTERVAL
from sealyard.engine.engine import Engine
from sealyard.engine.open_engine import open_engine, open_reader
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.model.clock import Clock
from sealyard.model.cluster import HeldLease, LeaseSettings
from sealyard.model.credentials import AccessToken, IssuerAccount, PresentedToken
from sealyard.model.errors import ConcurrentWriterError, InvalidInputError
from sealyard.model.grants import DirectUpload, Grant, UploadGrant
from sealyard.model.requests import UploadStatus
from sealyard.model.tasks import InputFile, Task
from sealyard.model.workspace import WorkspacePaths

T = TypeVar("T")


class EngineHandle:
    """A running engine, shared by all clients of one workspace in this process.

    An engine handle is not a client: a client acts for one subject, for which the engine checks permissions. Create
    clients with :meth:`client`; close the handle, not the clients.
    """

    def __init__(self, engine: Engine, thread: LoopThread) -> None:
        """Wrap a running engine. Use :meth:`open` or :meth:`open_read_only` to start one."""
        self.engine = engine
        self._thread = thread

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        purpose: str,
        key_holder: KeyHolder | KeyHolderFactory,
        work: bool = True,
        clock: Clock | None = None,
        workers: int = 2,
        key_check_interval: float = CHECK_INTERVAL,
        lease: LeaseSettings | None = None,
    ) -> Self:
        """Open the workspace as its only writer.

        See :func:`sealyard.engine.open_engine.open_engine` for the parameters and exceptions.
        """
        open_coroutine = open_engine(
            WorkspacePaths(folder.absolute()),
            purpose=purpose,
            key_holder=key_holder,
            work=work,
            clock=clock,
            workers=workers,
            key_check_interval=key_check_interval,
            lease=lease,
        )
        return await cls._start(open_coroutine)

    @classmethod
    async def open_read_only(cls, folder: Path, *, clock: Clock | None = None) -> Self:
        """Open the workspace without write access. Another process may hold the workspace lock."""
        return await cls._start(open_reader(WorkspacePaths(folder.absolute()), clock=clock))

    @classmethod
    async def _start(cls, open_awaitable: Awaitable[Engine]) -> Self:
        thread = LoopThread("sealyard-engine")
        engine_future = thread.submit(open_awaitable)
        try:
            return cls(await asyncio.shield(engine_future), thread)
        except BaseException:
            await _close_abandoned_engine(engine_future, thread)
            raise

    async def close(self) -> None:
        """Close the engine, release the workspace lock and stop the thread. Its clients are unusable afterwards."""
        try:
            await self.run(self.engine.close())
        finally:
            await asyncio.to_thread(self._thread.stop)

    async def close_when_unused(self) -> None:
        """Like :meth:`close`, after the calls in progress have ended. No call must begin meanwhile."""
        await self._thread.call(wait_for_other_tasks())
        await self.close()

    @property
    def folder(self) -> Path:
        return self.engine.paths.root

    def client(
        self, subject: str, trust_note: str = EMBEDDED_TRUST_NOTE, presented_token: PresentedToken | None = None
    ) -> EmbeddedClient:
        """Return a client for ``subject``; see :class:`EmbeddedClient` for the parameters."""
        return EmbeddedClient(self.engine, self._thread, subject, trust_note, presented_token)

    async def run(self, awaitable: Awaitable[T]) -> T:
        """Await ``awaitable`` on the engine's event loop and return its result."""
        return await self._thread.call(awaitable)

    async def authenticate_token(self, secret: str) -> AccessToken:
        """Return the access token with this secret. Raises :class:`AuthenticationError`."""

        async def authenticate() -> AccessToken:
            return self.engine.tokens.authenticate(secret)

        return await self.run(authenticate())

    async def wait_idle(self) -> None:
        """Wait until no task is queued or running, and the deadlines that had passed at the start are applied."""
        await self.run(self.engine.scheduler.wait_idle())
        await self.run(self.engine.expiry.wait_applied())

    async def count_waiting_notifications(self) -> int:
        """Return the number of notifications that wait because this process sends none; 0 if it does."""

        async def count() -> int:
            outbox = self.engine.notifications.outbox
            return 0 if outbox.has_sender else outbox.count_pending()

        return await self.run(count())

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the live crypto workers, for monitoring from outside."""
        return self.engine.bus.pids

    @property
    def lease(self) -> HeldLease | None:
        """The lease of the workspace; None if its store is in files. Can be read in any thread."""
        return self.engine.store.lease

    def on_fenced(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        """Call ``callback`` on the engine's thread when the engine may write nothing more.

        Either another engine has taken over the workspace, or the lease has lapsed by the clock of this machine. The
        handle must be closed then.
        """

        async def register() -> None:
            self.engine.repository.on_fatal_error(callback)

        self._thread.submit(register())

    # ---- uploads: :class:`sealyard.engine.inputs.uploads.UploadService` documents what each method raises

    async def create_upload(
        self, subject: str, upload_id: str | None, name: str, size: int | None, expected_sha256: str | None = None
    ) -> UploadStatus:
        use_case = self.engine.uploads.create(subject, upload_id, name, size, expected_sha256)
        return await self.run(self.engine.execute(subject, "INPUT", use_case))

    async def upload(self, subject: str, upload_id: str) -> UploadStatus:
        async def get_upload() -> UploadStatus:
            return self.engine.uploads.get(subject, upload_id)

        return await self.run(self.engine.query(subject, "INPUT", get_upload()))

    async def write_upload(
        self, subject: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> UploadStatus:
        """Write ``chunks`` from ``offset`` on, on the caller's event loop.

        Uses the engine's loop only to check the subject, and to add an audit entry if the file is rejected.
        """
        await self.upload(subject, upload_id)
        try:
            return await self.engine.uploads.write(subject, upload_id, offset, chunks)
        except InvalidInputError as error:
            await self.audit_rejected_input(subject, error)
            raise

    async def audit_rejected_input(self, subject: str, error: InvalidInputError) -> None:
        """Record in the audit log that an input of ``subject`` was rejected, unless ``error`` is a mere mistake."""
        await self.run(self.engine.audit.record_refusal(subject, "INPUT", error))

    async def delete_upload(self, subject: str, upload_id: str) -> None:
        await self.run(self.engine.query(subject, "INPUT", self.engine.uploads.delete(subject, upload_id)))

    # :class:`sealyard.engine.inputs.direct_uploads.DirectUploads` documents what these three raise

    async def begin_direct_upload(
        self, subject: str, upload_id: str, name: str, size: int, expected_sha256: str | None
    ) -> DirectUpload:
        use_case = self.engine.direct_uploads.begin(subject, upload_id, name, size, expected_sha256)
        return await self.run(self.engine.execute(subject, "INPUT", use_case))

    async def grant_upload(self, subject: str, upload_id: str, part: int, sha256: str) -> UploadGrant:
        use_case = self.engine.direct_uploads.grant(subject, upload_id, part, sha256)
        return await self.run(self.engine.execute(subject, "INPUT", use_case))

    async def complete_direct_upload(self, subject: str, upload_id: str, sha256: str) -> UploadStatus:
        use_case = self.engine.direct_uploads.complete(subject, upload_id, sha256)
        return await self.run(self.engine.execute(subject, "INPUT", use_case))

    async def resolve_uploads(self, subject: str, upload_ids: tuple[str, ...]) -> tuple[InputFile, ...]:
        """Return the completed uploads of the subject as input files, for a request that creates a task."""

        async def resolve() -> tuple[InputFile, ...]:
            return self.engine.uploads.resolve(subject, upload_ids)

        return await self.run(self.engine.query(subject, "INPUT", resolve()))

    async def claim_uploads(self, subject: str, upload_ids: tuple[str, ...]) -> None:
        """Record that a task now owns the content of the uploads. Call this after the task was created."""
        await self.run(self.engine.uploads.claim(subject, upload_ids))

    # ---- sign-in and shutdown

    async def sign_in(self, subject: str, roles: tuple[str, ...], account: IssuerAccount) -> None:
        """Sign in a subject that an issuer authenticated, with the roles from the issuer's token."""
        await self.run(self.engine.role_sync.sign_in(subject, roles, account))

    async def drain_workers(self, seconds: float) -> int:
        """Stop starting tasks, and wait up to ``seconds`` for the running tasks.

        Returns the number of tasks that are still running.
        """
        return await self.run(self.engine.scheduler.drain(seconds))

    async def drain(self, seconds: float) -> int:
        """End all event streams, stop starting tasks, and wait up to ``seconds`` for the running tasks.

        Returns the number of tasks that are still running.
        """

        async def close_and_drain() -> int:
            self.engine.events.close()
            return await self.engine.scheduler.drain(seconds)

        return await self.run(close_and_drain())

    # ---- download by link, without a subject

    async def resolve_link(self, link: str) -> Task:
        async def resolve() -> Task:
            return self.engine.delivery.resolve_link(link)

        return await self.run(resolve())

    def download_link(self, link: str, offset: int) -> AsyncGenerator[bytes, None]:
        async def iterate_chunks() -> AsyncIterator[bytes]:
            async for chunk in self.engine.delivery.download_by_link(link, offset):
                yield chunk

        return self._thread.iterate(iterate_chunks())

    async def grant_link(self, link: str, offset: int) -> Grant | None:
        return await self.run(self.engine.delivery.grant_by_link(link, offset))

    async def record_link_transfer(self, link: str, offset: int) -> None:
        await self.run(self.engine.delivery.record_link_transfer(link, offset))


async def _close_abandoned_engine(engine_future: asyncio.Future[Engine], thread: LoopThread) -> None:
    """Wait until an abandoned opening has finished, then close the engine and stop ``thread``. Ignores cancellation.

    If the opening were interrupted, the engine's threads would keep writing without the lock, or keep the lock.
    """
    await wait_uninterrupted(engine_future)
    if not engine_future.cancelled() and engine_future.exception() is None:
        await wait_uninterrupted(thread.submit(engine_future.result().close()))
    await wait_uninterrupted(submit(thread.stop))
