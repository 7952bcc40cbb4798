"""Implementation of :class:`~sealyard.client.protocol.Client` with an engine in this process, on its own thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from functools import partial
from pathlib import Path

from sealyard.client.engine_calls import EngineCalls
from sealyard.client.progress import ThrottledProgress, file_size
from sealyard.client.protocol import ProgressCallback
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.engine.engine import Engine
from sealyard.model.access import AccessList, AclRule, Action, Membership, Subject
from sealyard.model.audit import AuditFilter, AuditReport
from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OtpEnrollment,
    OtpStatus,
    PresentedToken,
    TokenRequest,
)
from sealyard.model.device_configs import DeviceCertificate, DeviceConfig
from sealyard.model.errors import StorageError, WaitTimeoutError
from sealyard.model.events import Event
from sealyard.model.formatting import format_seconds
from sealyard.model.hints import Hint, HintCode
from sealyard.model.keys import KeyInfo
from sealyard.model.policy import Policy
from sealyard.model.requests import (
    AccessControlList,
    ApprovalReview,
    AuditPage,
    DeviceRequest,
    DeviceUpdate,
    EncryptionRequest,
    KeyImport,
    PackageRequest,
    RequestCheck,
    SigningRequest,
    TaskCounts,
    TaskFilter,
    TaskPage,
    WorkspaceInfo,
)
from sealyard.model.tasks import DecisionOrigin, InputFile, Task, TaskStatus, Verdict
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest

EMBEDDED_TRUST_NOTE = "embedded: anyone with this account can act as any user"
EVENT_BATCH_SECONDS = 0.01
"""Interval at which events are passed to the caller's loop; the first event after a pause is passed immediately."""


class EmbeddedClient(EngineCalls):
    """Client of an engine in this process. :class:`sealyard.client.protocol.Client` documents the methods."""

    def __init__(
        self,
        engine: Engine,
        thread: LoopThread,
        subject: str,
        trust_note: str = EMBEDDED_TRUST_NOTE,
        presented_token: PresentedToken | None = None,
    ) -> None:
        """Use :meth:`EngineHandle.client` to create clients.

        ``trust_note``: how dual control is enforced. ``presented_token``: the token of a remote caller.
        """
        super().__init__(engine, thread, subject)
        self._trust_note = trust_note
        self._presented_token = presented_token

    async def close(self) -> None:
        """Do nothing: the :class:`EngineHandle` owns the engine and closes it."""

    # ---- tasks

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        on_bytes = ThrottledProgress(progress, file_size(path)).add if progress is not None else None
        return await self._execute("INPUT", self._engine.inputs.ingest(path, expected_sha256, on_bytes))

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        async def discard() -> None:
            self._engine.inputs.discard(files)

        await self._thread.call(discard())

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
        use_case = self._engine.queries.list_tasks(self._subject, filters, after, limit)
        return await self._thread.call(self._engine.query(self._subject, "TASK", use_case))

    async def counts(self) -> TaskCounts:
        return await self._query("TASK", lambda: self._engine.queries.counts(self._subject))

    async def review(self, task_id: str) -> ApprovalReview:
        return await self._query(f"TASK:{task_id}", lambda: self._engine.decisions.review(self._subject, task_id))

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
        try:
            async with asyncio.timeout(within):
                return await self._wait_for(task, or_waiting)
        except TimeoutError:
            raise WaitTimeoutError(
                f"Task {task.id} did not finish within {format_seconds(within or 0)}.",
                Hint.of(HintCode.SHOW_TASK, task_id=task.id),
            ) from None

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
        use_case = self._engine.devices.export_key(
            self._subject, config, path, encryption_key=encryption_key, confirmed=confirmed
        )
        return await self._execute(f"DEVICE_CONFIG:{config}", use_case)

    async def keys(self) -> tuple[KeyInfo, ...]:
        return await self._query("KEY", lambda: self._engine.keys.list_keys(self._subject))

    async def import_key(self, request: KeyImport) -> KeyInfo:
        return await self._execute(f"KEY:{request.uri}", self._engine.keys.import_key(self._subject, request))

    async def rotate_key(self, uri: str) -> KeyInfo:
        return await self._execute(f"KEY:{uri}", self._engine.devices.rotate_key(self._subject, uri))

    async def access(self) -> AccessControlList:
        return await self._query("ACL", lambda: self._engine.access.access(self._subject))

    async def subject_names(self) -> Mapping[str, str]:
        return await self._query("ACL", self._engine.access.subject_names)

    async def own_subjects(self) -> tuple[str, ...]:
        return await self._query("ACL", lambda: self._engine.access.own_subjects(self._subject))

    async def own_device_rules(self) -> tuple[AclRule, ...]:
        return await self._query("ACL", lambda: self._engine.access.effective_device_rules(self._subject))

    async def add_subject(self, subject: str, display_name: str = "") -> Subject:
        use_case = self._engine.access.add_subject(self._subject, subject, display_name)
        return await self._execute(f"SUBJECT:{subject}", use_case)

    async def unlink_subject(self, subject: str) -> None:
        await self._execute(f"SUBJECT:{subject}", self._engine.account_links.unlink(self._subject, subject))

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership:
        use_case = self._engine.access.add_member(self._subject, group, member, confirmed=confirmed)
        return await self._execute(f"SUBJECT:{group}", use_case)

    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None:
        use_case = self._engine.access.remove_member(self._subject, group, member, confirmed=confirmed)
        await self._execute(f"SUBJECT:{group}", use_case)

    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        use_case = self._engine.access.add_rule(self._subject, subject, resource, action, confirmed=confirmed)
        return await self._execute("ACL", use_case)

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        use_case = self._engine.access.remove_rule(self._subject, rule_id, confirmed=confirmed)
        await self._execute(f"ACL:{rule_id}", use_case)

    async def policy(self) -> Policy:
        return await self._query("POLICY", self._engine.access.policy)

    async def set_policy(self, policy: Policy) -> Policy:
        return await self._execute("POLICY", self._engine.access.set_policy(self._subject, policy))

    # ---- webhooks

    async def webhooks(self) -> tuple[Webhook, ...]:
        return await self._query("WEBHOOK", lambda: self._engine.webhooks.list_webhooks(self._subject))

    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook:
        return await self._execute("WEBHOOK", self._engine.webhooks.add(self._subject, request))

    async def remove_webhook(self, webhook_id: str) -> None:
        await self._execute(f"WEBHOOK:{webhook_id}", self._engine.webhooks.remove(self._subject, webhook_id))

    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        resource = f"WEBHOOK:{webhook_id}"
        return await self._query(resource, lambda: self._engine.webhooks.dead_letters(self._subject, webhook_id))

    async def redeliver(self, letter_id: str) -> None:
        await self._execute("WEBHOOK", self._engine.webhooks.redeliver(self._subject, letter_id))

    # ---- audit

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage:
        use_case = self._engine.audit.page(self._subject, filters, below, limit)
        return await self._thread.call(self._engine.query(self._subject, "AUDIT_LOG", use_case))

    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        use_case = self._engine.audit.verify(self._subject, checkpoint, progress)
        return await self._thread.call(self._engine.query(self._subject, "AUDIT_LOG", use_case))

    def export_audit(self, kind: str) -> AsyncGenerator[str, None]:
        lines = self._engine.audit.export(self._subject, kind)
        return self._thread.iterate(self._engine.stream(self._subject, "AUDIT_LOG", lines))

    # ---- credentials

    async def tokens(self) -> tuple[AccessToken, ...]:
        return await self._query("TOKEN", lambda: self._engine.tokens.list_tokens(self._subject))

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        resource = f"SUBJECT:{request.subject or self._subject}"
        return await self._execute(resource, self._engine.tokens.create(self._subject, request, self._presented_token))

    async def revoke_token(self, token_id: str) -> None:
        await self._execute(f"TOKEN:{token_id}", self._engine.tokens.revoke(self._subject, token_id))

    async def one_time_password(self) -> OtpStatus:
        return await self._query("SUBJECT", lambda: self._engine.otp.state(self._subject))

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        use_case = self._engine.otp.enroll(self._subject, current)
        return await self._execute(f"SUBJECT:{self._subject}", use_case)

    async def confirm_one_time_password(self, password: str) -> None:
        use_case = self._engine.otp.confirm(self._subject, password)
        await self._execute(f"SUBJECT:{self._subject}", use_case)

    async def reset_one_time_password(self, subject: str) -> None:
        use_case = self._engine.otp.reset(self._subject, subject)
        await self._execute(f"SUBJECT:{subject}", use_case)

    # ---- workspace and events

    async def workspace(self) -> WorkspaceInfo:
        return await self._query("WORKSPACE", self._workspace_info)

    async def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        async def listen() -> AsyncIterator[tuple[Event, ...]]:
            if self._engine.read_only:
                self._engine.tail()
            async for batch in self._engine.events.batches(after):
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
                *engine.otp.warnings(self._subject),
                *engine.clock_guard.warnings(),
            ),
        )
