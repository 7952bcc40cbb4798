"""The engine of one workspace: its parts put together, opened and closed. Lives on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any, TypeVar

import msgspec

from sealyard.audit.log import AuditLog
from sealyard.concurrency.clock import SystemClock
from sealyard.engine.access.account_links import AccountLinks
from sealyard.engine.access.administration import AccessAdministration
from sealyard.engine.access.otp import OtpService
from sealyard.engine.access.role_sync import RoleSync
from sealyard.engine.access.tokens import AccessTokens
from sealyard.engine.audit.checkpointing import CheckpointLoop, migrate_pending_entries
from sealyard.engine.audit.service import AuditService
from sealyard.engine.devices.configs import DeviceConfigs
from sealyard.engine.devices.keys import KeyRegistry
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.health import HealthMonitor
from sealyard.engine.inputs.store import InputStore
from sealyard.engine.inputs.stream_writer import run_uncancellable
from sealyard.engine.inputs.uploads import UploadService
from sealyard.engine.state.events import EventBroadcaster
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import INDEXES
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.create import TaskCreation
from sealyard.engine.tasks.deadline_queue import DeadlineQueue
from sealyard.engine.tasks.decide import TaskDecisions
from sealyard.engine.tasks.download import ResultDelivery
from sealyard.engine.tasks.expiry import ExpiryLoop
from sealyard.engine.tasks.query import TaskQueries
from sealyard.engine.tasks.recovery import Recovery
from sealyard.engine.webhooks.outbox import WebhookOutbox
from sealyard.engine.webhooks.registry import WebhookRegistry
from sealyard.engine.workspace import load_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.bus import JobBus
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.access import SubjectKind, subject_kind
from sealyard.model.clock import Clock
from sealyard.model.errors import NotFoundError, PermissionDeniedError, SealyardError, StorageError
from sealyard.model.events import DurableEvent
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import OpenKeyStore
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.storage.artifacts import ArtifactStore, FileArtifacts
from sealyard.storage.documents import DocumentStore, TinyDocumentStore
from sealyard.storage.upload_dir import UploadDir

T = TypeVar("T")

POLL_INTERVAL = 0.2

log = logging.getLogger(__name__)


class Engine:
    """Its parts are the use cases; :meth:`perform` and :meth:`look` call them for a subject.

    Make one with :func:`open_engine` or :func:`open_reader`.
    """

    def __init__(
        self,
        file: WorkspaceMetadata,
        places: WorkspacePaths,
        store: DocumentStore,
        artifacts: ArtifactStore,
        bus: JobBus,
        clock: Clock,
        audit: AuditLog | None,
    ) -> None:
        links = DownloadLinks.open(file.id, places.link_key)
        self.metadata = file
        self.paths = places
        self.read_only = audit is None
        self.store = store
        self.bus = bus
        self.events = EventBroadcaster(msgspec.convert(store.recent_events(), list[DurableEvent]))
        self.ledger = Repository(store, audit, self.events, clock)
        self.rights = Permissions(self.ledger)
        self.inputs = InputStore(artifacts, clock)
        self.uploads = UploadService(UploadDir(places.artifacts / "uploads"), artifacts, self.inputs, clock)
        outcomes = ResultPublisher(self.ledger, links, artifacts)
        self.scheduler = Scheduler(self.ledger, self.rights, bus, outcomes)
        self.views = TaskQueries(self.ledger, self.rights, self.scheduler.progress_of, recorded=audit is not None)
        self.keychain = KeyRegistry(self.ledger, self.rights, bus)
        self.devices = DeviceConfigs(self.ledger, self.rights, self.keychain)
        self.administration = AccessAdministration(self.ledger, self.rights, self.devices, demo=file.demo)
        self.auditing = AuditService(self.ledger, self.rights, places.audit)
        self.readiness = HealthMonitor(self.ledger, bus)
        self.tokens = AccessTokens(self.ledger, self.rights)
        self.bindings = AccountLinks(self.ledger, self.rights, self.tokens)
        self.roles = RoleSync(self.ledger, self.rights, self.administration, self.auditing, self.bindings)
        sealed = SecretBox(places.secrets_key)
        self.hook_outbox = WebhookOutbox(self.ledger, sealed)
        self.webhooks = WebhookRegistry(self.ledger, self.rights, sealed, self.hook_outbox)
        onward = AutoTransitions(self.ledger)
        self.creation = TaskCreation(self.ledger, self.rights, self.inputs, onward)
        self.one_time_passwords = OtpService(self.ledger, self.rights, sealed, file.name)
        self.decisions = TaskDecisions(
            self.ledger, self.rights, self.views, self.scheduler, onward, artifacts, self.one_time_passwords
        )
        self.delivery = ResultDelivery(self.ledger, self.views, links, artifacts)
        self._artifacts = artifacts
        self._deadlines = DeadlineQueue(clock)
        self._expiry = ExpiryLoop(
            self.ledger, self._deadlines, self.scheduler, onward, self.inputs, self.uploads, artifacts
        )
        self._recovery = Recovery(
            self.ledger,
            artifacts,
            self.inputs,
            self.uploads,
            outcomes,
            self._deadlines,
            onward,
            self.scheduler,
        )
        self._sealing = CheckpointLoop(self.ledger, audit, bus, f"sealyard/{file.id}") if audit is not None else None
        self._loops: list[asyncio.Task[None]] = []
        self._performing: set[asyncio.Task[Any]] = set()
        self._lock: WorkspaceLock | None = None

    async def start(self, lock: WorkspaceLock, *, work: bool) -> None:
        """Recovers, then runs. Without ``work`` nothing is given to workers: approved tasks stay SCHEDULED."""
        assert self._sealing is not None
        self._lock = lock
        # A crash must leave no key lying about that was on its way to or from somebody.
        await run_uncancellable(partial(shutil.rmtree, self.paths.key_transfer, ignore_errors=True))
        await self._sealing.pin_key()
        self.ledger.task_listeners += [
            self._deadlines.schedule,
            self._cleanup,
            self.scheduler.on_task_saved,
            self.hook_outbox.on_task_saved,
        ]
        await self._recovery.run()
        loops = [self._sealing.run(), self._expiry.run()]
        if work:
            loops.append(self.scheduler.run())
        self._loops = [asyncio.create_task(each) for each in loops]
        for each in self._loops:
            each.add_done_callback(_log_crash)
        self.ledger.commit_event.set()

    async def close(self) -> None:
        """Stops, seals the audit log and lets the workspace go; unfinished tasks are found at the next start."""
        self.events.close()
        for each in self._loops:
            each.cancel()
        try:
            await asyncio.gather(*self._loops, *self._performing, return_exceptions=True)
            await run_uncancellable(self.uploads.close)
            await self._final_checkpoint()
        finally:
            await self._release()

    async def _final_checkpoint(self) -> None:
        if self._sealing is None or self._lock is None:
            return
        try:
            await self.ledger.flush()
            await self._sealing.checkpoint()
        except SealyardError as error:
            log.warning("the audit log stays unsealed until the next start: %s", error)

    async def _release(self) -> None:
        """The lock last: nothing of this engine may write once another one holds the workspace."""
        try:
            await self.bus.close()
        finally:
            try:
                await run_uncancellable(self.store.close)
            finally:
                if self._lock is not None:
                    self._lock.release()

    async def execute(self, subject: str, about: str, use_case: Awaitable[T]) -> T:
        """A use case that changes something: for known subjects; a refusal or failure is audited.

        It runs to its end even where the caller goes away: a change is made whole or not at all.
        """
        performing = asyncio.create_task(self._execute(subject, about, use_case))
        self._performing.add(performing)
        performing.add_done_callback(self._performing.discard)
        return await asyncio.shield(performing)

    async def _execute(self, subject: str, about: str, use_case: Awaitable[T]) -> T:
        try:
            self._require_writable()
            self._require_known(subject)
            return await use_case
        except SealyardError as error:
            if not self.read_only:
                await self.auditing.record_refusal(subject, about, error)
            raise
        finally:
            _close_unawaited(use_case)

    async def query(self, subject: str, about: str, use_case: Awaitable[T]) -> T:
        """A use case that changes nothing: only a lack of rights is audited, where there is an engine to do it."""
        try:
            self._require_known(subject)
            return await use_case
        except (PermissionDeniedError, NotFoundError) as error:
            if not self.read_only and (isinstance(error, PermissionDeniedError) or error.hidden):
                await self.auditing.record_refusal(subject, about, error)
            raise
        finally:
            _close_unawaited(use_case)

    async def stream(self, subject: str, about: str, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Like :meth:`look`, for what is handed out piece by piece; what expired or is gone is audited too."""
        try:
            self._require_known(subject)
            async with contextlib.aclosing(items):
                async for item in items:
                    yield item
        except SealyardError as error:
            if not self.read_only:
                await self.auditing.record_refusal(subject, about, error)
            raise

    def tail(self) -> None:
        """For a reader: takes in, from now on, what the writer commits, and tells of it."""
        if not self._loops:
            following = asyncio.create_task(self._tail())
            following.add_done_callback(_log_crash)
            self._loops.append(following)

    async def _tail(self) -> None:
        """Trouble with the disk may pass, and whoever listens would wait for ever: logged once, and tried again."""
        troubled = False
        while True:
            try:
                await self._refresh()
                troubled = False
            except SealyardError as error:
                if not troubled:
                    log.warning("what the writer commits cannot be read at present: %s", error)
                troubled = True
            await asyncio.sleep(POLL_INTERVAL)

    async def _refresh(self) -> None:
        if await asyncio.to_thread(self.store.refresh):
            self.ledger.invalidate()
            for event in msgspec.convert(self.store.recent_events(), list[DurableEvent]):
                if event.cursor > self.events.cursor:
                    self.events.publish_durable(event)

    def _require_writable(self) -> None:
        if self.read_only:
            raise StorageError("The workspace is open for reading only.", "Open it for writing.")

    def _require_known(self, subject: str) -> None:
        if not self.rights.contains(subject):
            raise PermissionDeniedError(
                f"{escape_text(subject, 80)} is not known in this workspace.",
                f"An administrator can add it: sealyard subject add {escape_text(subject, 80)}",
            )
        if subject_kind(subject) is SubjectKind.GROUP:
            # Else a person could ask as a group and approve as oneself.
            raise PermissionDeniedError("A group does nothing itself.", "Act as one of its members.")

    def _cleanup(self, task: Task) -> None:
        """An ended task needs neither its inputs nor a place of work."""
        if not task.status.is_final:
            return
        try:
            self.inputs.release(task)
            self._artifacts.delete_work(task.id)
        except SealyardError as error:
            log.warning("what task %s has left behind is cleared at the next start: %s", task.id, error)


async def open_engine(
    places: WorkspacePaths,
    *,
    purpose: str,
    passphrase: str | None = None,
    work: bool = True,
    clock: Clock | None = None,
    workers: int = 2,
    create: bool = False,
) -> Engine:
    """The engine, running, as the workspace's only writer.

    Not to be cancelled: half an opening leaves threads behind. Raises :class:`WorkspaceLockedError`,
    :class:`KeyStoreLockedError`, :class:`StoreCorruptedError` and what else keeps a workspace closed. ``create``: make
    the master key, at the very first opening.
    """
    file = load_metadata(places)
    time = clock or SystemClock()
    lock = WorkspaceLock.acquire(places.lock, purpose)
    try:
        store = await run_uncancellable(partial(TinyDocumentStore.open, places.store, INDEXES, write=True))
        try:
            audit = await run_uncancellable(partial(AuditLog.open, places.audit))
            await run_uncancellable(partial(migrate_pending_entries, store, audit))
            bus = PipeBus(_unlock(places, file, passphrase, create), places.worker_log, time, workers)
            engine = Engine(file, places, store, FileArtifacts(places.artifacts), bus, time, audit)
        except BaseException:
            await run_uncancellable(store.close)
            raise
    except BaseException:
        lock.release()
        raise
    try:
        await engine.start(lock, work=work)
    except BaseException:
        await engine.close()
        raise
    return engine


async def open_reader(places: WorkspacePaths, *, clock: Clock | None = None) -> Engine:
    """The engine's views without the right to write, beside whoever holds the workspace."""
    file = load_metadata(places)
    time = clock or SystemClock()
    store = await asyncio.to_thread(TinyDocumentStore.open, places.store, INDEXES, write=False)
    bus = PipeBus(_unlock(places, file, None, create=False), places.worker_log, time)
    return Engine(file, places, store, FileArtifacts(places.artifacts), bus, time, None)


def _unlock(places: WorkspacePaths, file: WorkspaceMetadata, passphrase: str | None, create: bool) -> OpenKeyStore:
    return OpenKeyStore(
        workspace=str(places.root),
        workspace_id=file.id,
        key_store=file.key_store,
        passphrase=passphrase,
        create=create,
    )


def _log_crash(loop: asyncio.Task[None]) -> None:
    if not loop.cancelled() and (error := loop.exception()) is not None:
        log.critical("a part of the engine has stopped", exc_info=error)


def _close_unawaited(use_case: Awaitable[object]) -> None:
    """A refusal before the use case began must not leave a coroutine that was never awaited."""
    if asyncio.iscoroutine(use_case):
        use_case.close()
