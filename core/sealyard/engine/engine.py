"""The engine of a workspace, which creates, starts and closes its components. An engine runs on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any, TypeVar

import msgspec

from sealyard.concurrency.coroutines import close_unawaited, log_crash
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.access.access_impact import AccessImpact
from sealyard.engine.access.account_links import AccountLinks
from sealyard.engine.access.administration import AccessAdministration
from sealyard.engine.access.otp import OtpService
from sealyard.engine.access.role_sync import RoleSync
from sealyard.engine.access.subject_states import SubjectStates
from sealyard.engine.access.tokens import AccessTokens
from sealyard.engine.audit.checkpointing import CheckpointLoop
from sealyard.engine.audit.moves import record_moves
from sealyard.engine.audit.service import AuditService
from sealyard.engine.audit.state_events import record_state_events
from sealyard.engine.devices.configs import DeviceConfigs
from sealyard.engine.devices.external_keys import ExternalKeys
from sealyard.engine.devices.key_monitor import CHECK_INTERVAL, KeyMonitor
from sealyard.engine.devices.keys import KeyRegistry
from sealyard.engine.devices.provider_monitor import KeyProviderMonitor
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.execution.zone_monitor import ZoneMonitor
from sealyard.engine.health import HealthMonitor
from sealyard.engine.inputs.store import InputStore
from sealyard.engine.inputs.uploads import UploadService
from sealyard.engine.key_migration import KeyMigration
from sealyard.engine.notifications.registry import NotificationRegistry
from sealyard.engine.state.clock_record import ClockRecord, open_clock_guard
from sealyard.engine.state.commit_follower import follow_commits
from sealyard.engine.state.events import EventBroadcaster
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.opened_state import OpenedState
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.cleanup import TaskCleanup
from sealyard.engine.tasks.confirm_clock import ClockConfirmations
from sealyard.engine.tasks.contents import TaskContents
from sealyard.engine.tasks.create import TaskCreation
from sealyard.engine.tasks.deadline_queue import DeadlineQueue
from sealyard.engine.tasks.decide import TaskDecisions
from sealyard.engine.tasks.download import ResultDelivery
from sealyard.engine.tasks.expiry import ExpiryLoop
from sealyard.engine.tasks.query import TaskQueries
from sealyard.engine.tasks.recovery import Recovery
from sealyard.engine.tasks.released_packages import ReleasedMetadata
from sealyard.engine.tasks.request_checks import RequestChecks
from sealyard.engine.tasks.review import TaskReviews
from sealyard.engine.webhooks.outbox import WebhookOutbox
from sealyard.engine.webhooks.registry import WebhookRegistry
from sealyard.engine.workspace import (
    remove_crash_leftovers,
)
from sealyard.engine.zone_hosts import ZoneHosts
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.bus import JobBus
from sealyard.model.clock import Clock
from sealyard.model.errors import (
    FencedError,
    NotFoundError,
    PermissionDeniedError,
    SealyardError,
    WorkspaceReadOnlyError,
)
from sealyard.model.events import DurableEvent
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.storage.artifacts import ArtifactStore
from sealyard.storage.upload_dir import UploadDir

T = TypeVar("T")

log = logging.getLogger(__name__)


class Engine:
    """The use cases of a workspace, grouped into components; each component is an attribute of the engine.

    Callers run the components' methods with :meth:`execute`, :meth:`query` and :meth:`stream`, which check that the
    subject is known and audit failures. Create an engine with :func:`open_engine` or :func:`open_reader`.
    """

    _lock: WorkspaceLock | None = None

    def __init__(
        self,
        metadata: WorkspaceMetadata,
        paths: WorkspacePaths,
        artifacts: ArtifactStore,
        bus: JobBus,
        clock: Clock,
        state: OpenedState,
    ) -> None:
        store, audit, audit_source, keys = state
        links, secret_box = (
            DownloadLinks(metadata.id, keys.link_key if keys else None),
            SecretBox(keys.secrets_key if keys else None),
        )
        self.metadata, self.paths, self._artifacts = metadata, paths, artifacts
        self.store, self._state, self.bus, self.read_only = store, state, bus, audit is None
        self.events = EventBroadcaster(msgspec.convert(store.recent_events(), list[DurableEvent]))
        self.repository = Repository(store, audit, self.events, clock)
        self._clock_record = ClockRecord(paths.clock)
        self.clock_guard = open_clock_guard(clock, audit, self._clock_record)
        self.permissions = Permissions(self.repository)
        self.inputs = InputStore(artifacts, clock)
        self.uploads = UploadService(UploadDir(paths.artifacts / "uploads"), artifacts, self.inputs, clock)
        result_publisher = ResultPublisher(self.repository, links, artifacts, uploaded=bus.is_remote)
        zone_monitor = ZoneMonitor(metadata.zone or None, bus)
        self.scheduler = Scheduler(
            self.repository, self.permissions, bus, result_publisher, artifacts, self.clock_guard, zone_monitor
        )
        self.queries = TaskQueries(
            self.repository, self.permissions, self.scheduler.progress_of, records_result_states=audit is not None
        )
        self.keys = KeyRegistry(self.repository, self.permissions, bus)
        self.external_keys = ExternalKeys(self.repository, self.permissions, bus, self.keys)
        self.devices = DeviceConfigs(self.repository, self.permissions, self.keys, self.external_keys)
        impact = AccessImpact(self.repository, self.permissions, self.devices)
        self.access = AccessAdministration(self.repository, self.permissions, impact, demo=metadata.demo)
        self.audit = AuditService(self.repository, self.permissions, audit_source)
        self.key_monitor = KeyMonitor(self.repository, bus, audit_source)
        self.provider_monitor = KeyProviderMonitor(self.repository, self.external_keys)
        self.health = HealthMonitor(
            self.repository, bus, artifacts, self.clock_guard, self.key_monitor, self.provider_monitor, zone_monitor
        )
        self.tokens = AccessTokens(self.repository, self.permissions)
        self.account_links = AccountLinks(self.repository, self.permissions, self.tokens)
        self.role_sync = RoleSync(
            self.repository, self.permissions, self.access, impact, self.audit, self.account_links
        )
        self.webhook_outbox = WebhookOutbox(self.repository, secret_box)
        self.webhooks = WebhookRegistry(self.repository, self.permissions, secret_box, self.webhook_outbox)
        self.notifications = NotificationRegistry(self.repository, self.permissions, secret_box, metadata.name)
        self.repository.add_message_sources(self.webhook_outbox, self.notifications.outbox)
        auto_transitions, contents = AutoTransitions(self.repository), TaskContents(artifacts)
        self.creation = TaskCreation(
            self.repository, self.permissions, self.queries, self.inputs, contents, auto_transitions
        )
        self.request_checks = RequestChecks(self.repository, self.permissions, self.creation, artifacts)
        self.otp = OtpService(self.repository, self.permissions, secret_box, metadata.name)
        self.subject_states = SubjectStates(
            self.repository, self.permissions, impact, self.tokens, self.otp, self.notifications
        )
        self.decisions = TaskDecisions(
            self.repository, self.permissions, self.queries, self.scheduler, auto_transitions, contents, self.otp
        )
        self.reviews = TaskReviews(self.repository, self.queries, contents)
        self.delivery = ResultDelivery(self.repository, self.queries, links, artifacts)
        self._released_metadata = ReleasedMetadata(self.repository, self.inputs)
        self._artifacts, self._deadlines = artifacts, DeadlineQueue(clock)
        self.expiry = ExpiryLoop(
            self.repository,
            self._deadlines,
            self.scheduler,
            auto_transitions,
            self.inputs,
            self.uploads,
            artifacts,
            self.clock_guard,
            self._clock_record,
        )
        self.clock_confirmations = ClockConfirmations(
            self.repository, self.permissions, self.clock_guard, self._clock_record, self.expiry, metadata.id
        )
        self._recovery = Recovery(
            self.repository,
            artifacts,
            self.inputs,
            self.uploads,
            result_publisher,
            self._deadlines,
            auto_transitions,
            self.scheduler,
            bus,
        )
        self._checkpoint_loop = (
            CheckpointLoop(self.repository, audit, bus, f"sealyard/{metadata.id}") if audit is not None else None
        )
        self.zone_hosts = ZoneHosts(self.repository, self.permissions, bus, self.scheduler, metadata.id)
        self._key_migration = KeyMigration(self.repository, metadata, paths, links, secret_box)
        self._loops: list[asyncio.Task[None]] = []
        self._running_use_cases: set[asyncio.Task[Any]] = set()

    async def start(
        self, lock: WorkspaceLock, *, work: bool, key_check_interval: float | None = CHECK_INTERVAL
    ) -> None:
        """Resume what the previous engine left unfinished, then start the background loops.

        ``lock``: the workspace lock, which :meth:`close` releases. ``work``: whether to start the scheduler; without
        it, approved tasks stay SCHEDULED. ``key_check_interval``: seconds between two checks of a key, None for none.
        """
        assert self._checkpoint_loop is not None
        self._lock = lock
        call_soon = asyncio.get_running_loop().call_soon_threadsafe
        self.store.on_fenced(lambda error: call_soon(self.repository.report_fatal_error, error))
        await run_uncancellable(partial(remove_crash_leftovers, self.paths))
        state = await self._checkpoint_loop.open_log()
        if any(event.recovery is not None for event in state.unaudited):
            await self._recovery.cancel_unfinished()
        await record_state_events(self.repository, self.bus, self.metadata.id, state.unaudited)
        await record_moves(self.repository, self.metadata.id)
        await self._key_migration.run()
        self.repository.add_task_listeners(
            self._deadlines,
            self._released_metadata,
            TaskCleanup(self.inputs, self._artifacts),
            self.scheduler,
            self.webhook_outbox,
            self.notifications.outbox,
        )
        self._released_metadata.restore()
        await self._recovery.run()
        loops = [self._checkpoint_loop.run(), self.expiry.run()]
        if work or self.scheduler.has_attempts:
            loops.append(self.scheduler.run(starts_attempts=work))
        if key_check_interval is not None:
            loops += [self.key_monitor.run(key_check_interval), self.provider_monitor.run()]
        self._loops = [asyncio.create_task(loop) for loop in loops]
        self._loops.append(asyncio.create_task(self._stop_after_fatal_error(tuple(self._loops))))
        for loop in self._loops:
            loop.add_done_callback(log_crash)
        self.repository.commit_event.set()

    async def _stop_after_fatal_error(self, loops: tuple[asyncio.Task[None], ...]) -> None:
        """Stop the background loops and the workers once another process has written to the workspace.

        The engine stays open, so that its clients receive the error.
        """
        await self.repository.fatal_error_event.wait()
        assert self.repository.fatal_error is not None
        log.critical("the engine has stopped: %s", self.repository.fatal_error)
        self.scheduler.start_error = self.repository.fatal_error
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._close_artifacts()
        await self.bus.close()

    async def close(self) -> None:
        """Stop the engine: create a last checkpoint of the audit log, close the store and release the workspace lock.

        Unfinished tasks resume when the workspace is opened again.
        """
        self.events.close()
        for loop in self._loops:
            loop.cancel()
        try:
            await asyncio.gather(*self._loops, *self._running_use_cases, return_exceptions=True)
            await self.scheduler.cancel_attempts()
            await run_uncancellable(self.uploads.close)
            await self._write_final_checkpoint()
            if not self.read_only and self.repository.fatal_error is None:
                await self._clock_record.save(self.clock_guard.accepted_reading)
        finally:
            await self._release_resources()

    async def _write_final_checkpoint(self) -> None:
        if self._checkpoint_loop is None or not self._checkpoint_loop.is_open:
            return
        if self.repository.fatal_error is not None:
            return  # this engine may write nothing more
        try:
            await self.repository.flush()
            await self._checkpoint_loop.checkpoint()
        except SealyardError as error:
            log.warning("could not create a final checkpoint of the audit log; retrying at the next start: %s", error)

    async def _release_resources(self) -> None:
        """Close the workers and the store, then release the lock, so that another engine can open the workspace."""
        try:
            await self._close_artifacts()
            await self.bus.close()
        finally:
            try:
                await run_uncancellable(self._state.close)
            finally:
                if self._lock is not None:
                    self._lock.release()

    async def _close_artifacts(self) -> None:
        """Stop deletions in a remote artifact store. An engine that lost the workspace must not delete anything."""
        if self._artifacts.remote is not None:
            finish = self.repository.fatal_error is None
            await run_uncancellable(partial(self._artifacts.remote.close, finish=finish))

    async def execute(self, subject: str, resource: str, use_case: Awaitable[T]) -> T:
        """Run a use case that modifies the workspace, and return its result.

        Rejects unknown subjects. Audits refusals and failures, with ``resource`` as the resource of the entry. If the
        caller is cancelled, the use case still runs to completion, so that its change is applied completely or not at
        all.
        """
        use_case_task = asyncio.create_task(self._execute(subject, resource, use_case))
        self._running_use_cases.add(use_case_task)
        use_case_task.add_done_callback(self._running_use_cases.discard)
        return await asyncio.shield(use_case_task)

    async def _execute(self, subject: str, resource: str, use_case: Awaitable[T]) -> T:
        try:
            self._require_writable()
            self.access.require_active(subject)
            return await use_case
        except SealyardError as error:
            await self._record_refusal(subject, resource, error)
            raise
        finally:
            close_unawaited(use_case)

    async def query(self, subject: str, resource: str, use_case: Awaitable[T]) -> T:
        """Run a read-only use case, and return its result.

        Audits only permission failures, and only in an engine that is open for writing.
        """
        try:
            self.access.require_active(subject)
            return await use_case
        except (PermissionDeniedError, NotFoundError) as error:
            await self._record_refusal(subject, resource, error)
            raise
        finally:
            close_unawaited(use_case)

    async def stream(self, subject: str, resource: str, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Yield the items of a read-only use case, until the subject is disabled or removed.

        Unlike :meth:`query`, audits failures as well as refusals, for example that a result has expired.
        """
        try:
            self.access.require_active(subject)
            async with contextlib.aclosing(items):
                async for item in items:
                    self.access.require_active(subject)
                    yield item
        except SealyardError as error:
            await self._record_refusal(subject, resource, error)
            raise

    async def _record_refusal(self, subject: str, resource: str, error: SealyardError) -> None:
        if not self.read_only and self.repository.fatal_error is None:
            await self.audit.record_refusal(subject, resource, error)

    def tail(self) -> None:
        """Start a loop that loads the commits of the writing process and publishes their events.

        For engines opened with :func:`open_reader`. Does nothing if the loop is already running.
        """
        if not self._loops:
            loop = asyncio.create_task(follow_commits(self.repository))
            loop.add_done_callback(log_crash)
            self._loops.append(loop)

    def _require_writable(self) -> None:
        if self.read_only:
            raise WorkspaceReadOnlyError("The workspace is open read-only.", "Open it for writing.")
        error = self.repository.fatal_error
        if isinstance(error, FencedError):
            raise FencedError(error.message, error.structured_hint, started=False)
        if error is not None:
            raise error
