"""Implementation of :class:`~sealyard.client.protocol.Client` with an engine in this process, on its own thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from functools import partial
from pathlib import Path

from sealyard.client.embedded_access import AccessCalls
from sealyard.client.embedded_messaging import MessagingCalls
from sealyard.client.embedded_zone import ZoneCalls
from sealyard.client.key_files import load_certificate_content, load_key_content, new_key_file
from sealyard.client.progress import ThrottledProgress
from sealyard.client.protocol import ProgressCallback
from sealyard.client.task_wait import wait_within
from sealyard.fs.atomic import write_all
from sealyard.model.access import AccessList
from sealyard.model.audit import AuditFilter, AuditReport
from sealyard.model.backend_keys import ProviderKeys, ProviderStatus
from sealyard.model.clock import ClockConfirmation
from sealyard.model.device_configs import DeviceCertificate, DeviceConfig
from sealyard.model.errors import StorageError
from sealyard.model.events import Event
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import (
    ApprovalReview,
    AuditPage,
    CertificateContent,
    DeviceRequest,
    DeviceUpdate,
    EncryptionRequest,
    ExportedKey,
    KeyContent,
    KeyGeneration,
    KeyImport,
    KeyRegistration,
    PackageRequest,
    RequestCheck,
    SigningRequest,
    TaskCounts,
    TaskFilter,
    TaskPage,
    WorkspaceInfo,
)
from sealyard.model.tasks import DecisionOrigin, InputFile, Task, TaskStatus, Verdict

EVENT_BATCH_SECONDS = 0.01
"""Interval at which events are passed to the caller's loop; the first event after a pause is passed immediately."""


class EmbeddedClient(AccessCalls, MessagingCalls, ZoneCalls):
    """Client of an engine in this process. :class:`sealyard.client.protocol.Client` documents the methods."""

    async def close(self) -> None:
        """Do nothing: the :class:`EngineHandle` owns the engine and closes it."""

    # ---- tasks

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        on_bytes = ThrottledProgress.of_file(progress, path).add if progress is not None else None
        return await self._execute("INPUT", self._engine.inputs.ingest(path, expected_sha256, on_bytes))

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        await self._query("INPUT", lambda: self._engine.inputs.discard(files))

    async def create_package(self, request: PackageRequest) -> Task:
        resource = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(resource, self._engine.creation.create_package(self._subject, request))

    async def create_encryption(self, request: EncryptionRequest) -> Task:
        resource = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(resource, self._engine.creation.create_encryption(self._subject, request))

    async def create_signing(self, request: SigningRequest) -> Task:
        resource = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(resource, self._engine.creation.create_signing(self._subject, request))

    async def check_package(self, request: PackageRequest) -> RequestCheck:
        use_case = partial(self._engine.request_checks.check_package, self._subject, request)
        return await self._query(f"DEVICE_CONFIG:{request.config}", use_case)

    async def check_encryption(self, request: EncryptionRequest) -> RequestCheck:
        use_case = partial(self._engine.request_checks.check_encryption, self._subject, request)
        return await self._query(f"DEVICE_CONFIG:{request.config}", use_case)

    async def check_signing(self, request: SigningRequest) -> RequestCheck:
        use_case = partial(self._engine.request_checks.check_signing, self._subject, request)
        return await self._query(f"DEVICE_CONFIG:{request.config}", use_case)

    async def task(self, task_id: str) -> Task:
        return await self._query(f"TASK:{task_id}", lambda: self._engine.queries.get(self._subject, task_id))

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        return await self._await_query("TASK", self._engine.queries.list_tasks(self._subject, filters, after, limit))

    async def counts(self) -> TaskCounts:
        return await self._query("TASK", lambda: self._engine.queries.counts(self._subject))

    async def review(self, task_id: str) -> ApprovalReview:
        return await self._await_query(f"TASK:{task_id}", self._engine.reviews.review(self._subject, task_id))

    async def decide(
        self,
        task_id: str,
        verdict: Verdict,
        reason: str = "",
        *,
        digest: str | None = None,
        origin: DecisionOrigin = DecisionOrigin.MACHINE,
        one_time_password: str | None = None,
    ) -> Task:
        use_case = self._engine.decisions.decide(
            self._subject, task_id, verdict, reason, digest, origin, one_time_password
        )
        return await self._execute(f"TASK:{task_id}", use_case)

    async def withdraw(self, task_id: str, reason: str) -> Task:
        return await self._execute(f"TASK:{task_id}", self._engine.decisions.withdraw(self._subject, task_id, reason))

    async def cancel(self, task_id: str) -> Task:
        return await self._execute(f"TASK:{task_id}", self._engine.decisions.cancel(self._subject, task_id))

    async def wait(self, task_id: str, *, within: float | None = None, or_waiting: bool = False) -> Task:
        task = await self.task(task_id)
        return await wait_within(within, task.id, self._wait_for(task, or_waiting))

    async def _wait_for(self, task: Task, or_waiting: bool) -> Task:
        events = self.events(await self.cursor())
        try:
            task = await self.task(task.id)
            while not (task.status.is_final or (or_waiting and task.status is TaskStatus.WAITING)):
                await anext(events)
                task = await self.task(task.id)
        finally:
            await events.aclose()
        return task

    async def cursor(self) -> int:
        """Return the cursor of the newest event, after which :meth:`events` continues.

        The event of every change that readers can already see is at or before this cursor.
        """

        async def read_cursor() -> int:
            # Readers see a change before it is on disk, and its event is published only afterwards.
            with contextlib.suppress(StorageError):
                await self._engine.repository.flush()
            await asyncio.sleep(0)  # let a commit that has reached the disk publish its events
            return self._engine.events.cursor

        return await self._thread.call(read_cursor())

    # ---- results

    async def renew(self, task_id: str) -> Task:
        return await self._execute(f"TASK:{task_id}", self._engine.delivery.renew(self._subject, task_id))

    def download(self, task_id: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        chunks = self._engine.delivery.download(self._subject, task_id, offset)
        return self._thread.iterate(self._engine.stream(self._subject, f"TASK:{task_id}", chunks))

    async def report_downloaded(self, task_id: str) -> None:
        await self._execute(f"TASK:{task_id}", self._engine.delivery.record_download(self._subject, task_id))

    async def report_transferred(self, task_id: str, *, offset: int = 0) -> None:
        """Record in the audit log that the task's artifact was sent from byte ``offset`` to its end."""
        await self._execute(f"TASK:{task_id}", self._engine.delivery.record_transfer(self._subject, task_id, offset))

    async def certificate(self, task_id: str) -> str:
        return await self._query(f"TASK:{task_id}", lambda: self._engine.delivery.certificate(self._subject, task_id))

    # ---- administration

    async def devices(self) -> tuple[DeviceConfig, ...]:
        return await self._query("DEVICE_CONFIG", lambda: self._engine.devices.list_configs(self._subject))

    async def device(self, config: str, version: int | None = None) -> DeviceConfig:
        resource = f"DEVICE_CONFIG:{config}"
        return await self._query(resource, lambda: self._engine.devices.get(self._subject, config, version))

    async def create_device(self, request: DeviceRequest) -> DeviceConfig:
        resource = f"DEVICE_CONFIG:{request.name}"
        return await self._execute(resource, self._engine.devices.create(self._subject, request))

    async def update_device(self, request: DeviceUpdate) -> DeviceConfig:
        resource = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(resource, self._engine.devices.update(self._subject, request))

    async def device_access(self, config_ids: Iterable[str]) -> dict[str, AccessList]:
        """Return who may view, use and approve each of the configurations that the subject may view."""
        return await self._query(
            "DEVICE_CONFIG", lambda: self._engine.devices.access_lists(self._subject, tuple(config_ids))
        )

    async def device_certificates(self, config: str, version: int | None = None) -> tuple[DeviceCertificate, ...]:
        resource = f"DEVICE_CONFIG:{config}"
        return await self._query(resource, lambda: self._engine.devices.certificates(self._subject, config, version))

    async def export_device_key(
        self, config: str, path: Path, *, encryption_key: str | None = None, confirmed: bool = False
    ) -> Path:
        with new_key_file(path) as fd:
            key = await self.read_device_key(config, encryption_key=encryption_key, confirmed=confirmed)
            write_all(fd, key.content)
        return path

    async def read_device_key(
        self, config: str, *, encryption_key: str | None = None, confirmed: bool = False
    ) -> ExportedKey:
        """Like :meth:`export_device_key`, but return the key instead of writing it to a file."""
        use_case = self._engine.devices.export_key(
            self._subject, config, encryption_key=encryption_key, confirmed=confirmed
        )
        return await self._execute(f"DEVICE_CONFIG:{config}", use_case)

    async def keys(self) -> tuple[KeyInfo, ...]:
        return await self._query("KEY", lambda: self._engine.keys.list_keys(self._subject))

    async def import_key(self, request: KeyImport) -> KeyInfo:
        return await self.import_key_content(await asyncio.to_thread(load_key_content, request))

    async def import_key_content(self, request: KeyContent) -> KeyInfo:
        """Import a key from the contents of its files."""
        return await self._execute(f"KEY:{request.uri}", self._engine.keys.import_key(self._subject, request))

    async def key_providers(self) -> tuple[ProviderStatus, ...]:
        return await self._await_query("KEY", self._engine.external_keys.list_providers(self._subject))

    async def provider_keys(self, provider: str = "") -> tuple[ProviderKeys, ...]:
        return await self._await_query("KEY", self._engine.external_keys.list_keys(self._subject, provider))

    async def register_key(self, request: KeyRegistration) -> KeyInfo:
        return await self._execute(f"KEY:{request.uri}", self._engine.external_keys.register(self._subject, request))

    async def generate_key(self, request: KeyGeneration) -> KeyInfo:
        return await self._execute(f"KEY:{request.uri}", self._engine.keys.generate(self._subject, request))

    async def rotate_key(self, uri: str) -> KeyInfo:
        return await self._execute(f"KEY:{uri}", self._engine.devices.rotate_key(self._subject, uri))

    async def import_certificate(self, uri: str, path: Path) -> KeyInfo:
        return await self.import_certificate_content(await asyncio.to_thread(load_certificate_content, uri, path))

    async def import_certificate_content(self, request: CertificateContent) -> KeyInfo:
        """Create a version of a key with a renewed certificate, from the content of a certificate file."""
        use_case = self._engine.devices.import_certificate(self._subject, request)
        return await self._execute(f"KEY:{request.uri}", use_case)

    async def create_certificate_request(self, uri: str) -> str:
        return await self._execute(f"KEY:{uri}", self._engine.keys.create_certificate_request(self._subject, uri))

    # ---- audit

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage:
        return await self._await_query("AUDIT_LOG", self._engine.audit.page(self._subject, filters, below, limit))

    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        return await self._await_query("AUDIT_LOG", self._engine.audit.verify(self._subject, checkpoint, progress))

    async def prove_audit_entry(self, seq: int) -> str:
        return await self._await_query("AUDIT_LOG", self._engine.audit.prove_entry(self._subject, seq))

    async def prove_audit_consistency(self, old_size: int, size: int | None = None) -> str:
        return await self._await_query("AUDIT_LOG", self._engine.audit.prove_consistency(self._subject, old_size, size))

    async def audit_key(self) -> str:
        return await self._await_query("AUDIT_LOG", self._engine.audit.public_key(self._subject))

    def export_audit(self, kind: str, filters: AuditFilter | None = None) -> AsyncGenerator[str, None]:
        lines = self._engine.audit.export(self._subject, kind, filters or AuditFilter())
        return self._thread.iterate(self._engine.stream(self._subject, "AUDIT_LOG", lines))

    # ---- workspace and events

    async def workspace(self) -> WorkspaceInfo:
        return await self._query("WORKSPACE", self._workspace_info)

    async def confirm_clock(self, *, confirmed: bool = False) -> ClockConfirmation:
        use_case = self._engine.clock_confirmations.confirm(self._subject, confirmed=confirmed)
        return await self._execute("WORKSPACE", use_case)

    async def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        async def listen() -> AsyncIterator[tuple[Event, ...]]:
            if self._engine.read_only:
                self._engine.tail()
            async for batch in self._engine.events.batches(after):
                self._engine.access.require_active(self._subject)
                visible_events = (self._engine.queries.visible_event(self._subject, event) for event in batch)
                yield tuple(event for event in visible_events if event is not None)
                await asyncio.sleep(EVENT_BATCH_SECONDS)

        async with contextlib.aclosing(self._thread.iterate(listen())) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    def _workspace_info(self) -> WorkspaceInfo:
        engine = self._engine
        log_size, checkpointed_size = engine.audit.sizes()
        clock_warning = engine.clock_guard.warning()
        key_failures = engine.keys.failures(self._subject)
        provider_failures = engine.provider_monitor.failures if engine.keys.may_see_all(self._subject) else ()
        return WorkspaceInfo(
            id=engine.metadata.id,
            name=engine.metadata.name,
            location=str(engine.paths.root),
            demo=engine.metadata.demo,
            subject=self._subject,
            trust_note=self._trust_note,
            read_only=engine.read_only,
            key_store=engine.metadata.key_store,
            audit_size=log_size,
            audit_checkpointed=checkpointed_size,
            rights=tuple(sorted(engine.permissions.permissions_of(self._subject))),
            warnings=(
                *engine.keys.warnings(self._subject, engine.repository.clock.now()),
                *(failure.warning for failure in key_failures),
                *(failure.warning for failure in provider_failures),
                *engine.otp.warnings(self._subject),
                *((str(clock_warning),) if clock_warning is not None else ()),
            ),
            clock_warning=clock_warning.to_info() if clock_warning is not None else None,
            key_failures=key_failures,
            provider_failures=provider_failures,
            store_verified=not engine.read_only,
        )
