"""Implementation of :class:`~sealyard.client.protocol.Client` on an engine in this process, in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sealyard.concurrency.loop_thread import LoopThread
from sealyard.concurrency.threads import submit, wait_uninterrupted
from sealyard.engine.engine import Engine, open_engine, open_reader
from sealyard.model.access import AclRule, Action, Membership, Subject
from sealyard.model.audit import AuditFilter, AuditReport
from sealyard.model.clock import Clock
from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OtpEnrollment,
    OtpStatus,
    PresentedToken,
    TokenRequest,
)
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import StorageError, WaitTimeoutError
from sealyard.model.events import Event
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
    SigningRequest,
    TaskCounts,
    TaskFilter,
    TaskPage,
    WorkspaceInfo,
)
from sealyard.model.tasks import DecisionOrigin, InputFile, Task, TaskStatus, Verdict
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest
from sealyard.model.workspace import WorkspacePaths

T = TypeVar("T")

EMBEDDED_TRUST_NOTE = "embedded: dual control is not enforced; anyone with this account controls the workspace"
PROGRESS_SECONDS = 0.1
EVENT_BATCH_SECONDS = 0.01
"""Interval at which events are passed to the caller's loop; the first event after a pause is passed immediately."""

Progress = Callable[[int, int], None]


class EmbeddedClient:
    """Client of an engine in this process; :class:`sealyard.client.protocol.Client` documents the methods."""

    def __init__(
        self,
        engine: Engine,
        thread: LoopThread,
        subject: str,
        four_eyes: str = EMBEDDED_TRUST_NOTE,
        presented: PresentedToken | None = None,
    ) -> None:
        """Use :meth:`open` or :meth:`open_read_only` to start an engine as well.

        ``four_eyes`` describes to the user how dual control is enforced on this connection. ``presented`` is the token
        that a remote caller authenticated with.
        """
        self._engine = engine
        self._thread = thread
        self._subject = subject
        self._four_eyes = four_eyes
        self._presented = presented

    @classmethod
    async def open(
        cls,
        folder: Path,
        subject: str,
        *,
        purpose: str,
        passphrase: str | None = None,
        work: bool = True,
        clock: Clock | None = None,
        workers: int = 2,
        create: bool = False,
    ) -> EmbeddedClient:
        """Open the workspace as its only writer.

        See :func:`sealyard.engine.engine.open_engine` for the parameters and exceptions.
        """
        opening = open_engine(
            WorkspacePaths(folder.absolute()),
            purpose=purpose,
            passphrase=passphrase,
            work=work,
            clock=clock,
            workers=workers,
            create=create,
        )
        return await cls._start(opening, subject)

    @classmethod
    async def open_read_only(cls, folder: Path, subject: str, *, clock: Clock | None = None) -> EmbeddedClient:
        """Open the workspace without write access, alongside the lock holder."""
        return await cls._start(open_reader(WorkspacePaths(folder.absolute()), clock=clock), subject)

    @classmethod
    async def _start(cls, opening: Awaitable[Engine], subject: str) -> EmbeddedClient:
        thread = LoopThread("sealyard-engine")
        engine = thread.submit(_to_coroutine(opening))
        try:
            return cls(await asyncio.shield(engine), thread, subject)
        except BaseException:
            await _close_abandoned(engine, thread)
            raise

    def for_subject(self, subject: str) -> EmbeddedClient:
        """Return a client for another subject on the same engine; close only one of the two."""
        return EmbeddedClient(self._engine, self._thread, subject)

    async def close(self) -> None:
        try:
            await self._thread.call(self._engine.close())
        finally:
            await asyncio.to_thread(self._thread.stop)

    @property
    def engine(self) -> Engine:
        """The engine behind this client, for code that serves it to other processes."""
        return self._engine

    @property
    def thread(self) -> LoopThread:
        """The thread that the engine's event loop runs on."""
        return self._thread

    async def wait_idle(self) -> None:
        """Wait until no task is queued or running."""
        await self._thread.call(self._engine.scheduler.wait_idle())

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the live crypto workers, for monitoring from outside."""
        return self._engine.bus.pids

    # ---- tasks

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: Progress | None = None
    ) -> InputFile:
        on_bytes = ThrottledProgress(path, progress).add if progress is not None else None
        return await self._execute("INPUT", self._engine.inputs.ingest(path, expected_sha256, on_bytes))

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        async def discard() -> None:
            self._engine.inputs.discard(files)

        await self._thread.call(discard())

    async def create_package(self, request: PackageRequest) -> Task:
        about = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(about, self._engine.creation.create_package(self._subject, request))

    async def create_encryption(self, request: EncryptionRequest) -> Task:
        about = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(about, self._engine.creation.create_encryption(self._subject, request))

    async def create_signing(self, request: SigningRequest) -> Task:
        about = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(about, self._engine.creation.create_signing(self._subject, request))

    async def task(self, task_id: str) -> Task:
        return await self._query(f"TASK:{task_id}", lambda: self._engine.views.get(self._subject, task_id))

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        page = self._engine.views.list_tasks(self._subject, filters, after, limit)
        return await self._thread.call(self._engine.query(self._subject, "TASK", page))

    async def counts(self) -> TaskCounts:
        return await self._query("TASK", lambda: self._engine.views.counts(self._subject))

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
        decision = self._engine.decisions.decide(
            self._subject, task_id, verdict, reason, digest, origin, one_time_password
        )
        return await self._execute(f"TASK:{task_id}", decision)

    async def withdraw(self, task_id: str, reason: str) -> Task:
        return await self._execute(f"TASK:{task_id}", self._engine.decisions.withdraw(self._subject, task_id, reason))

    async def cancel(self, task_id: str) -> Task:
        return await self._execute(f"TASK:{task_id}", self._engine.decisions.cancel(self._subject, task_id))

    async def wait(self, task_id: str, *, within: float | None = None, settled: bool = False) -> Task:
        task = await self.task(task_id)
        try:
            async with asyncio.timeout(within):
                return await self._wait_for(task, settled)
        except TimeoutError:
            raise WaitTimeoutError(
                f"Task {task.id} did not finish within {within:g} seconds.", f"Check it later: sealyard show {task.id}"
            ) from None

    async def _wait_for(self, task: Task, settled: bool) -> Task:
        events = self.events(await self.cursor())
        try:
            task = await self.task(task.id)
            while not (task.status.is_final or (settled and task.status is TaskStatus.WAITING)):
                await anext(events)
                task = await self.task(task.id)
        finally:
            await events.aclose()
        return task

    async def cursor(self) -> int:
        """Return the cursor of the newest event, after which :meth:`events` continues.

        The event of every change that readers can see already is included.
        """

        async def read_cursor() -> int:
            # Changes are visible before they are on disk, and their events are published after that.
            with contextlib.suppress(StorageError):
                await self._engine.ledger.flush()
            await asyncio.sleep(0)  # a commit that is on disk by now may still be waiting to publish
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
        """Record in the audit log that the artifact was sent from ``offset`` to its last byte."""
        await self._execute(f"TASK:{task_id}", self._engine.delivery.record_transfer(self._subject, task_id, offset))

    async def certificate(self, task_id: str) -> str:
        return await self._query(f"TASK:{task_id}", lambda: self._engine.delivery.certificate(self._subject, task_id))

    # ---- administration

    async def devices(self) -> tuple[DeviceConfig, ...]:
        return await self._query("DEVICE_CONFIG", lambda: self._engine.devices.list_configs(self._subject))

    async def device(self, config: str, version: int | None = None) -> DeviceConfig:
        about = f"DEVICE_CONFIG:{config}"
        return await self._query(about, lambda: self._engine.devices.get(self._subject, config, version))

    async def create_device(self, request: DeviceRequest) -> DeviceConfig:
        about = f"DEVICE_CONFIG:{request.name}"
        return await self._execute(about, self._engine.devices.create(self._subject, request))

    async def update_device(self, request: DeviceUpdate) -> DeviceConfig:
        about = f"DEVICE_CONFIG:{request.config}"
        return await self._execute(about, self._engine.devices.update(self._subject, request))

    async def device_certificates(self, config: str) -> tuple[tuple[str, str], ...]:
        about = f"DEVICE_CONFIG:{config}"
        return await self._query(about, lambda: self._engine.devices.certificates(self._subject, config))

    async def export_device_key(self, config: str, path: Path, *, confirmed: bool = False) -> Path:
        export = self._engine.devices.export_key(self._subject, config, path, confirmed=confirmed)
        return await self._execute(f"DEVICE_CONFIG:{config}", export)

    async def keys(self) -> tuple[KeyInfo, ...]:
        return await self._query("KEY", lambda: self._engine.keychain.list_keys(self._subject))

    async def import_key(self, request: KeyImport) -> KeyInfo:
        return await self._execute(f"KEY:{request.uri}", self._engine.keychain.import_key(self._subject, request))

    async def rotate_key(self, uri: str) -> KeyInfo:
        return await self._execute(f"KEY:{uri}", self._engine.devices.rotate_key(self._subject, uri))

    async def access(self) -> AccessControlList:
        return await self._query("ACL", lambda: self._engine.administration.access(self._subject))

    async def own_subjects(self) -> tuple[str, ...]:
        return await self._query("ACL", lambda: self._engine.administration.own_subjects(self._subject))

    async def own_device_rules(self) -> tuple[AclRule, ...]:
        return await self._query("ACL", lambda: self._engine.administration.effective_device_rules(self._subject))

    async def add_subject(self, subject: str, display_name: str = "") -> Subject:
        addition = self._engine.administration.add_subject(self._subject, subject, display_name)
        return await self._execute(f"SUBJECT:{subject}", addition)

    async def unlink_subject(self, subject: str) -> None:
        await self._execute(f"SUBJECT:{subject}", self._engine.bindings.unlink(self._subject, subject))

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership:
        addition = self._engine.administration.add_member(self._subject, group, member, confirmed=confirmed)
        return await self._execute(f"SUBJECT:{group}", addition)

    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None:
        removal = self._engine.administration.remove_member(self._subject, group, member, confirmed=confirmed)
        await self._execute(f"SUBJECT:{group}", removal)

    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        addition = self._engine.administration.add_rule(self._subject, subject, resource, action, confirmed=confirmed)
        return await self._execute("ACL", addition)

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        removal = self._engine.administration.remove_rule(self._subject, rule_id, confirmed=confirmed)
        await self._execute(f"ACL:{rule_id}", removal)

    async def policy(self) -> Policy:
        return await self._query("POLICY", self._engine.administration.policy)

    async def set_policy(self, policy: Policy) -> Policy:
        return await self._execute("POLICY", self._engine.administration.set_policy(self._subject, policy))

    # ---- webhooks

    async def webhooks(self) -> tuple[Webhook, ...]:
        return await self._query("WEBHOOK", lambda: self._engine.webhooks.list_webhooks(self._subject))

    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook:
        return await self._execute("WEBHOOK", self._engine.webhooks.add(self._subject, request))

    async def remove_webhook(self, webhook_id: str) -> None:
        await self._execute(f"WEBHOOK:{webhook_id}", self._engine.webhooks.remove(self._subject, webhook_id))

    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        about = f"WEBHOOK:{webhook_id}"
        return await self._query(about, lambda: self._engine.webhooks.dead_letters(self._subject, webhook_id))

    async def redeliver(self, letter_id: str) -> None:
        await self._execute("WEBHOOK", self._engine.webhooks.redeliver(self._subject, letter_id))

    # ---- audit

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage:
        page = self._engine.auditing.page(self._subject, filters, below, limit)
        return await self._thread.call(self._engine.query(self._subject, "AUDIT_LOG", page))

    async def verify_audit(self, *, checkpoint: str | None = None, progress: Progress | None = None) -> AuditReport:
        verification = self._engine.auditing.verify(self._subject, checkpoint, progress)
        return await self._thread.call(self._engine.query(self._subject, "AUDIT_LOG", verification))

    def export_audit(self, kind: str) -> AsyncGenerator[str, None]:
        lines = self._engine.auditing.export(self._subject, kind)
        return self._thread.iterate(self._engine.stream(self._subject, "AUDIT_LOG", lines))

    # ---- credentials

    async def tokens(self) -> tuple[AccessToken, ...]:
        return await self._query("TOKEN", lambda: self._engine.tokens.list_tokens(self._subject))

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        about = f"SUBJECT:{request.subject or self._subject}"
        return await self._execute(about, self._engine.tokens.create(self._subject, request, self._presented))

    async def revoke_token(self, token_id: str) -> None:
        await self._execute(f"TOKEN:{token_id}", self._engine.tokens.revoke(self._subject, token_id))

    async def one_time_password(self) -> OtpStatus:
        return await self._query("SUBJECT", lambda: self._engine.one_time_passwords.state(self._subject))

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        enrollment = self._engine.one_time_passwords.enroll(self._subject, current)
        return await self._execute(f"SUBJECT:{self._subject}", enrollment)

    async def confirm_one_time_password(self, password: str) -> None:
        confirmation = self._engine.one_time_passwords.confirm(self._subject, password)
        await self._execute(f"SUBJECT:{self._subject}", confirmation)

    async def reset_one_time_password(self, subject: str) -> None:
        reset = self._engine.one_time_passwords.reset(self._subject, subject)
        await self._execute(f"SUBJECT:{subject}", reset)

    # ---- workspace and events

    async def workspace(self) -> WorkspaceInfo:
        return await self._query("WORKSPACE", self._info)

    async def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        async def listen() -> AsyncIterator[tuple[Event, ...]]:
            if self._engine.read_only:
                self._engine.tail()
            async for batch in self._engine.events.batches(after):
                visible = (self._engine.views.visible_event(self._subject, event) for event in batch)
                yield tuple(event for event in visible if event is not None)
                await asyncio.sleep(EVENT_BATCH_SECONDS)

        async with contextlib.aclosing(self._thread.iterate(listen())) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    def _info(self) -> WorkspaceInfo:
        engine = self._engine
        size, checkpointed = engine.auditing.sizes()
        return WorkspaceInfo(
            id=engine.metadata.id,
            name=engine.metadata.name,
            location=str(engine.paths.root),
            demo=engine.metadata.demo,
            subject=self._subject,
            four_eyes=self._four_eyes,
            read_only=engine.read_only,
            key_store=engine.metadata.key_store,
            audit_size=size,
            audit_sealed=checkpointed,
            rights=tuple(sorted(engine.rights.granted_to(self._subject))),
            warnings=(
                *engine.keychain.warnings(self._subject, engine.ledger.clock.now()),
                *engine.one_time_passwords.warnings(self._subject),
            ),
        )

    async def _execute(self, about: str, use_case: Awaitable[T]) -> T:
        return await self._thread.call(self._engine.execute(self._subject, about, use_case))

    async def _query(self, about: str, use_case: Callable[[], T]) -> T:
        async def run_use_case() -> T:
            return use_case()

        return await self._thread.call(self._engine.query(self._subject, about, run_use_case()))


async def _close_abandoned(engine: asyncio.Future[Engine], thread: LoopThread) -> None:
    """Let an abandoned opening finish, then close its engine and thread, ignoring cancellation.

    If it were interrupted, its threads would keep writing without the lock, or keep the lock.
    """
    await wait_uninterrupted(engine)
    if not engine.cancelled() and engine.exception() is None:
        await wait_uninterrupted(thread.submit(engine.result().close()))
    await wait_uninterrupted(submit(thread.stop))


async def _to_coroutine(work: Awaitable[T]) -> T:
    return await work


class ThrottledProgress:
    """Counts bytes and reports progress at most ten times a second, and once the file is complete."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._progress = progress
        self._total = _size(path)
        self._done = 0
        self._reported_at = 0.0

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._reported_at >= PROGRESS_SECONDS or self._done >= self._total:
            self._reported_at = now
            self._progress(self._done, self._total)


def _size(path: Path) -> int:
    """Return the size for progress reports, 0 if it is unavailable: reading the file raises the error."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
