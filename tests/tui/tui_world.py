"""A workspace in memory at the seam of the Client, for tests of the screens: always the same, at a time that stands."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from sealyard.client.config.profiles import Profile
from sealyard.client.embedded import EMBEDDED_TRUST_NOTE
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import ProgressCallback
from sealyard.model.access import AclRule, Action, Membership, Subject
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.approval import approval_digest, has_quorum
from sealyard.model.audit import GENESIS_HASH, AuditAction, AuditEntry, AuditFilter, AuditReport
from sealyard.model.credentials import (
    AccessToken,
    IssuedToken,
    OtpEnrollment,
    OtpStatus,
    TokenRequest,
)
from sealyard.model.device_configs import DeviceCertificate, DeviceConfig, EncryptionKey, KeyRole, SigningKey
from sealyard.model.errors import (
    ConfirmationRequiredError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    OneTimePasswordError,
    PermissionDeniedError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    ServerUnreachableError,
    WorkspaceLockedError,
)
from sealyard.model.events import DurableEvent, Event, EventsMissed, TaskChanged, TaskProgressed, WorkspaceChanged
from sealyard.model.keys import KeyInfo, KeyVersion
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
from sealyard.model.tasks import (
    Decision,
    DecisionOrigin,
    InputFile,
    Result,
    ResultState,
    RunProgress,
    StatusChange,
    Subtask,
    Task,
    TaskKind,
    TaskStatus,
    Verdict,
)
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest
from sealyard_tui.session.connections import ErrorCallback, StatusCallback
from sealyard_tui.session.messages import ConnectionMode

LOST = ServerUnreachableError("Cannot reach seal.example.", "Check that the server is running and reachable.")
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
RELEASE = b'{\n  "version": "1.5.0",\n  "notes": "fixes the watchdog"\n}'
DEVELOPER, OWNER, AUDITOR, ADMINISTRATOR = "USER:developer", "USER:owner", "USER:auditor", "USER:administrator"

RIGHTS: dict[str, tuple[tuple[str, Action], ...]] = {
    DEVELOPER: (("DEVICE_CONFIG:gw", Action.USE), ("DEVICE_CONFIG:sensor", Action.USE)),
    OWNER: (("DEVICE_CONFIG:gw", Action.APPROVE), ("DEVICE_CONFIG:sensor", Action.APPROVE)),
    AUDITOR: (("RESOURCE_TYPE:AUDIT_LOG", Action.VIEW),),
    ADMINISTRATOR: tuple(
        (f"RESOURCE_TYPE:{kind}", action)
        for kind, actions in {
            "ACL": (Action.VIEW, Action.CREATE, Action.DELETE),
            "AUDIT_LOG": (Action.VIEW,),
            "DEVICE_CONFIG": (Action.VIEW, Action.CREATE, Action.UPDATE, Action.EXPORT),
            "KEY": (Action.VIEW, Action.CREATE, Action.UPDATE),
            "POLICY": (Action.VIEW, Action.UPDATE),
            "SUBJECT": (Action.VIEW, Action.CREATE),
        }.items()
        for action in actions
    ),
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file(name: str, size: int = 4096) -> InputFile:
    return InputFile(name=name, size=size, sha256=sha(name))


def device(config_id: str = "gw", name: str = "gateway", version: int = 2, **changes: Any) -> DeviceConfig:
    made = DeviceConfig(
        id=config_id,
        version=version,
        name=name,
        encryption_keys=(
            EncryptionKey(
                algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, uri=f"local:{name}-encryption", version=1
            ),
        ),
        signing_keys=(SigningKey(algorithm=SigningAlgorithm.ECC_NIST_P256, uri=f"local:{name}-signing", version=1),),
        format="se-1",
        approvals_required=1,
        link_ttl_seconds=24 * 3600,
        retention_seconds=30 * 24 * 3600,
        created_by=ADMINISTRATOR,
        created_at=NOW - timedelta(days=20),
        description="The gateway in the field",
        warnings=("CBC hides, it does not authenticate: the signature over the header does.",),
    )
    return msgspec.structs.replace(made, **changes)


def task(task_id: str, status: TaskStatus = TaskStatus.WAITING, **changes: Any) -> Task:
    """A package of two firmware files and one metadata file, asked for by the developer half an hour ago."""
    config = changes.pop("configuration", None) or device()
    created = changes.pop("created_at", NOW - timedelta(minutes=30))
    made = Task(
        id=task_id,
        kind=TaskKind.PACKAGING,
        status=status,
        name=f"release {task_id}",
        config_id=config.id,
        config_name=config.name,
        config_version=config.version,
        created_by=DEVELOPER,
        created_at=created,
        updated_at=created,
        inputs=(file("bootloader.bin", 65536), file("application.bin", 1048576)),
        metadata=(file("release.json", len(RELEASE)),),
        content_type="firmware",
        format="se-1",
        encryption_key=config.encryption,
        signing_key=config.signing,
        warnings=config.warnings,
        approvals_required=1,
        approval_expires_at=NOW + timedelta(days=6),
        subtasks=(
            Subtask(id=f"{task_id}.1", kind=TaskKind.ENCRYPTION, status=TaskStatus.CREATED, name="bootloader.bin"),
            Subtask(id=f"{task_id}.2", kind=TaskKind.ENCRYPTION, status=TaskStatus.CREATED, name="application.bin"),
            Subtask(id=f"{task_id}.3", kind=TaskKind.SIGNING, status=TaskStatus.WAITING, name="header"),
        ),
        history=(
            StatusChange(status=TaskStatus.CREATED, at=created),
            StatusChange(status=TaskStatus.WAITING, at=created),
        ),
    )
    made = msgspec.structs.replace(made, **changes)
    return msgspec.structs.replace(made, approval_digest=approval_digest(made))


def result(state: ResultState = ResultState.AVAILABLE, name: str = "gateway-release.se-1", **changes: Any) -> Result:
    expires = NOW + timedelta(hours=20) if state is ResultState.AVAILABLE else NOW - timedelta(hours=2)
    kept = NOW - timedelta(hours=1) if state is ResultState.GONE else NOW + timedelta(days=29)
    made = Result(
        state=state, file_name=name, link="/r/1", expires_at=expires, retained_until=kept, sha256=sha("c"), size=1114700
    )
    return msgspec.structs.replace(made, **changes)


def decision(by: str = OWNER, verdict: Verdict = Verdict.APPROVED, reason: str = "") -> Decision:
    return Decision(by=by, verdict=verdict, at=NOW - timedelta(minutes=10), digest=sha("d"), reason=reason)


APPROVED = (decision(),)


def usual_tasks() -> list[Task]:
    """One of each state a person meets, newest first."""

    def at(minutes: int) -> datetime:
        return NOW - timedelta(minutes=minutes)

    return [
        task("t-waiting", name="gateway 1.5.0", created_at=at(2)),
        task(
            "t-running",
            TaskStatus.RUNNING,
            name="gateway 1.4.3",
            created_at=at(6),
            approvals=APPROVED,
            live=RunProgress(bytes_done=400_000, bytes_total=1_000_000, eta_seconds=42.0),
        ),
        task(
            "t-queued",
            TaskStatus.SCHEDULED,
            name="gateway 1.4.3 beta",
            created_at=at(7),
            approvals=APPROVED,
            live=RunProgress(queue_position=2),
        ),
        task("t-done", TaskStatus.DONE, name="gateway 1.4.2", created_at=at(90), approvals=APPROVED, result=result()),
        task(
            "t-expired",
            TaskStatus.DONE,
            name="gateway 1.4.1",
            created_at=at(3000),
            approvals=APPROVED,
            result=result(ResultState.EXPIRED),
        ),
        task(
            "t-gone",
            TaskStatus.DONE,
            name="gateway 1.4.0",
            created_at=at(60_000),
            approvals=APPROVED,
            result=result(ResultState.GONE),
        ),
        task(
            "t-rejected",
            TaskStatus.CANCELLED,
            name="gateway 1.3.9",
            created_at=at(61_000),
            approvals=(decision(verdict=Verdict.REJECTED, reason="wrong bootloader"),),
            reason="rejected by USER:owner: wrong bootloader",
            reason_code="rejected",
        ),
        task(
            "t-failed",
            TaskStatus.FAILED,
            name="gateway 1.3.8",
            created_at=at(62_000),
            reason="the worker died 3 times on this task",
            reason_code="worker",
        ),
        task(
            "t-signed",
            TaskStatus.DONE,
            kind=TaskKind.SIGNING,
            name="manifest",
            created_at=at(63_000),
            inputs=(file("manifest.json", 300),),
            metadata=(),
            subtasks=(),
            result=Result(state=ResultState.AVAILABLE, signature="MEUCIQDs" * 8),
        ),
    ]


def audit_entries(count: int) -> list[AuditEntry]:
    """``count`` entries that look like those of a workspace in use."""
    kinds = itertools.cycle(
        (
            (DEVELOPER, AuditAction.CREATED, "package asked for"),
            (OWNER, AuditAction.APPROVED, "approved by USER:owner"),
            ("SYSTEM:engine", AuditAction.STATUS_CHANGED, "APPROVED to SCHEDULED"),
            ("SYSTEM:engine", AuditAction.KEY_USED, "signature over the header"),
            (DEVELOPER, AuditAction.DOWNLOADED, "gateway-release.se-1"),
            (DEVELOPER, AuditAction.REFUSED, "You cannot decide on your own task."),
        )
    )
    return [
        AuditEntry(
            seq=seq,
            timestamp=NOW - timedelta(seconds=30 * (count - seq)),
            author=author,
            change=change,
            resource=f"TASK:{sha(str(seq // 6))[:12]}",
            message=message,
            new_value={"sha256": sha(str(seq))} if change is AuditAction.KEY_USED else None,
            code="not-allowed" if change is AuditAction.REFUSED else "",
            previous=GENESIS_HASH if seq == 0 else sha(str(seq - 1)),
        )
        for seq, (author, change, message) in zip(range(count), kinds, strict=False)
    ]


class World:
    """What all clients of a test share. Change it through its methods, and listeners hear of it."""

    def __init__(self) -> None:
        self.now = NOW
        self.tasks: dict[str, Task] = {each.id: each for each in usual_tasks()}
        self.devices: dict[str, list[DeviceConfig]] = {
            "gw": [device(version=1), device()],
            "sensor": [device("sensor", "sensor", 1, description="", warnings=())],
        }
        self.metadata: dict[str, bytes] = {"release.json": RELEASE}
        self.previous: dict[str, Task] = {}
        self.entries = audit_entries(60)
        self.policy = Policy()
        self.tokens: list[AccessToken] = []
        self.one_time_password = "123456"
        """The one that every authenticator shows."""
        self.enrolled = {OWNER}
        self.warnings: tuple[str, ...] = ()
        self.subjects = [
            Subject(id=each, created_by=ADMINISTRATOR, created_at=NOW - timedelta(days=20), display_name=name)
            for each, name in (
                (ADMINISTRATOR, ""),
                (DEVELOPER, "Dana Developer"),
                (OWNER, "Olga Owner"),
                (AUDITOR, "Aki Auditor"),
                ("GROUP:owners", ""),
            )
        ]
        self.memberships = [self._membership("GROUP:owners", OWNER)]
        self.rules = [
            self._rule(subject, resource, action, permanent=subject == ADMINISTRATOR)
            for subject, rights in RIGHTS.items()
            for resource, action in rights
        ]
        self.rights = dict(RIGHTS)
        self.webhooks: list[Webhook] = []
        self.dead_letters: list[DeadLetter] = []
        self.files: dict[str, bytes] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        """What was asked of the client that changes something, by name and arguments."""
        self.fail: dict[str, SealyardError] = {}
        """By method: the error it raises instead."""
        self.lost: ServerUnreachableError | None = None
        """While the line is lost: what every call comes to."""
        self.hold: dict[str, asyncio.Event] = {}
        """By method: waits for this before it answers."""
        self.by_token: dict[str, Task] = {}
        self.read_only = False
        self.held: WorkspaceLockedError | None = None
        self.demo = True
        self.four_eyes = EMBEDDED_TRUST_NOTE
        self._cursor = 0
        self._told: list[DurableEvent] = []
        self._listeners: list[asyncio.Queue[Event]] = []

    # ---- for tests

    def put(self, task: Task) -> None:
        """A task is made or changed, and everybody hears of it."""
        self.tasks[task.id] = task
        self._cursor += 1
        self._tell(
            TaskChanged(
                cursor=self._cursor,
                at=self.now,
                task_id=task.id,
                kind=task.kind,
                status=task.status,
                name=task.name,
                config_id=task.config_id,
                created_by=task.created_by,
                result_state=task.result.state if task.result else None,
            )
        )

    def progress(self, task_id: str, done: int, total: int, seconds_left: float | None = None) -> None:
        self._tell(
            TaskProgressed(
                cursor=self._cursor, task_id=task_id, bytes_done=done, bytes_total=total, eta_seconds=seconds_left
            )
        )

    def changed(self, resource: str) -> None:
        self._cursor += 1
        self._tell(WorkspaceChanged(cursor=self._cursor, at=self.now, resource=resource))

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def _tell(self, event: Event) -> None:
        if not isinstance(event, TaskProgressed | EventsMissed):
            self._told.append(event)
        for each in self._listeners:
            each.put_nowait(event)

    def _membership(self, group: str, member: str) -> Membership:
        return Membership(
            id=f"m-{group}-{member}", group=group, member=member, created_by=ADMINISTRATOR, created_at=NOW
        )

    def _rule(self, subject: str, resource: str, action: Action, *, permanent: bool = False) -> AclRule:
        return AclRule(
            id=f"r-{subject}-{resource}-{action}",
            subject=subject,
            resource=resource,
            action=action,
            created_by=ADMINISTRATOR,
            created_at=NOW,
            permanent=permanent,
        )


class WorldClient:
    """:class:`sealyard.client.protocol.Client` on a :class:`World`, for one subject."""

    def __init__(self, world: World, subject: str) -> None:
        self.world = world
        self.subject = subject

    async def _meet(self, method: str, *arguments: Any, changes: bool = False) -> None:
        if changes:
            self.world.calls.append((method, arguments))
        if method in self.world.hold:
            await self.world.hold[method].wait()
        if self.world.lost is not None:
            raise self.world.lost
        if method in self.world.fail:
            raise self.world.fail[method]

    # ---- tasks

    async def upload(
        self, path: Path, *, expected_sha256: str | None = None, progress: ProgressCallback | None = None
    ) -> InputFile:
        await self._meet("upload", path, changes=True)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidInputError(f"{path.name} cannot be read ({error.strerror}).", "Check the file.") from error
        if not content:
            raise InvalidInputError(f"{path.name} is empty.", "Choose a file with content.")
        digest = hashlib.sha256(content).hexdigest()
        if progress is not None:
            progress(len(content), len(content))
        if expected_sha256 is not None and expected_sha256 != digest:
            raise InvalidInputError(f"{path.name} has another SHA-256 than expected.", "Check the file.")
        self.world.files[digest] = content
        return InputFile(name=path.name, size=len(content), sha256=digest)

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        await self._meet("discard", files, changes=True)

    async def create_package(self, request: PackageRequest) -> Task:
        await self._meet("create_package", request, changes=True)
        if (known := self.world.by_token.get(request.client_token or "")) is not None:
            return known
        made = task(
            f"t-new-{len(self.world.tasks)}",
            name=request.name or "unnamed",
            inputs=request.firmware,
            metadata=request.metadata,
            created_by=self.subject,
            created_at=self.world.now,
            configuration=await self.device(request.config),
        )
        self.world.by_token[request.client_token or made.id] = made
        self.world.put(made)
        return made

    async def create_encryption(self, request: EncryptionRequest) -> Task:
        await self._meet("create_encryption", request, changes=True)
        raise ConflictError("Not in this world.")

    async def create_signing(self, request: SigningRequest) -> Task:
        await self._meet("create_signing", request, changes=True)
        raise ConflictError("Not in this world.")

    async def task(self, task_id: str) -> Task:
        await self._meet("task", task_id)
        found = self.world.tasks.get(task_id)
        if found is None:
            raise NotFoundError(f"Task {task_id} not found.")
        return found

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        await self._meet("tasks", filters, after)
        ordered = sorted(
            self.world.tasks.values(),
            key=lambda each: (each.created_at, each.id),
            reverse=not filters.oldest_first,
        )
        matching = [
            each
            for each in ordered
            if filters.matches(each) and (not filters.awaiting_my_approval or not self._hindrance(each))
        ]
        start = int(after or 0)
        page = matching[start : start + limit]
        more = start + limit < len(matching)
        return TaskPage(tasks=tuple(page), next=str(start + limit) if more else None, total=len(matching))

    async def counts(self) -> TaskCounts:
        await self._meet("counts")
        tasks = list(self.world.tasks.values())
        by_status = {each: sum(task.status is each for task in tasks) for each in TaskStatus}
        results = {
            each: sum(task.result is not None and task.result.state is each for task in tasks) for each in ResultState
        }
        return TaskCounts(
            by_status={key: count for key, count in by_status.items() if count},
            results={key: count for key, count in results.items() if count},
            mine=sum(each.created_by == self.subject for each in tasks),
            awaiting_my_approval=sum(not self._hindrance(each) for each in tasks),
        )

    async def review(self, task_id: str) -> ApprovalReview:
        found = await self.task(task_id)
        versions = self.world.devices[found.config_id]
        newest = versions[-1].version
        return ApprovalReview(
            task=found,
            configuration=next(each for each in versions if each.version == found.config_version),
            blocked_reason=self._hindrance(found),
            metadata=tuple((each.name, self.world.metadata.get(each.name, b"")) for each in found.metadata),
            previous=self.world.previous.get(task_id),
            newer_version=newest if newest > found.config_version else None,
        )

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
        await self._meet("decide", task_id, verdict, reason, digest, changes=True)
        found = await self.task(task_id)
        if hindrance := self._hindrance(found):
            raise PermissionDeniedError(hindrance)
        if digest is not None and digest != found.approval_digest:
            raise ConflictError("The task changed since you reviewed it.", "Review the task again, then decide.")
        checked = verdict is Verdict.APPROVED and self.world.policy.require_otp
        if checked and one_time_password != self.world.one_time_password:
            raise OneTimePasswordError("The one-time password is wrong.", "Wait for the next one, then try again.")
        decided = msgspec.structs.replace(
            decision(self.subject, verdict, reason),
            digest=found.approval_digest,
            origin=origin,
            one_time_password=checked,
        )
        made = msgspec.structs.replace(found, approvals=(*found.approvals, decided), reason=reason)
        if verdict is Verdict.REJECTED:
            made = msgspec.structs.replace(made, status=TaskStatus.CANCELLED)
        elif has_quorum(made):
            made = msgspec.structs.replace(made, status=TaskStatus.SCHEDULED)
        self.world.put(made)
        return made

    async def withdraw(self, task_id: str, reason: str) -> Task:
        await self._meet("withdraw", task_id, reason, changes=True)
        return self._ended(await self.task(task_id), f"withdrawn: {reason}")

    async def cancel(self, task_id: str) -> Task:
        await self._meet("cancel", task_id, changes=True)
        return self._ended(await self.task(task_id), f"cancelled by {self.subject}")

    async def wait(self, task_id: str, *, within: float | None = None, or_waiting: bool = False) -> Task:
        return await self.task(task_id)

    def _ended(self, found: Task, reason: str) -> Task:
        made = msgspec.structs.replace(found, status=TaskStatus.CANCELLED, reason=reason)
        self.world.put(made)
        return made

    def _hindrance(self, found: Task) -> str:
        if found.status is not TaskStatus.WAITING:
            return f"The task is {found.status}, not waiting for approval."
        if found.approval_expires_at is not None and self.world.now >= found.approval_expires_at:
            return "The approval period has expired."
        if self.subject == found.created_by:
            return "You cannot decide on your own task."
        if any(each.by == self.subject for each in found.approvals):
            return "You have already decided on this task."
        if (f"DEVICE_CONFIG:{found.config_id}", Action.APPROVE) not in self.world.rights.get(self.subject, ()):
            return f"You do not have permission to approve for {found.config_name}."
        return ""

    # ---- results

    async def renew(self, task_id: str) -> Task:
        await self._meet("renew", task_id, changes=True)
        found = await self.task(task_id)
        if found.result is None or found.result.state is ResultState.GONE:
            raise ResultGoneError("The artifact was removed.", "Submit the request again.")
        made = msgspec.structs.replace(found, result=result())
        self.world.put(made)
        return made

    async def download(self, task_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        await self._meet("download", task_id, offset)
        found = await self.task(task_id)
        assert found.result is not None
        if found.result.state is ResultState.EXPIRED:
            raise ResultExpiredError("The link has expired.", "Renew it.")
        if found.result.state is ResultState.GONE:
            raise ResultGoneError("The artifact was removed.", "Submit the request again.")
        yield self.world.files.get(found.result.sha256 or "", b"")[offset:]

    async def report_downloaded(self, task_id: str) -> None:
        await self._meet("downloaded", task_id, changes=True)

    async def certificate(self, task_id: str) -> str:
        return "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

    # ---- administration

    async def devices(self) -> tuple[DeviceConfig, ...]:
        await self._meet("devices")
        return tuple(versions[-1] for versions in self.world.devices.values())

    async def device(self, config: str, version: int | None = None) -> DeviceConfig:
        await self._meet("device", config, version)
        for versions in self.world.devices.values():
            if config in (versions[-1].id, versions[-1].name):
                return versions[-1] if version is None else versions[version - 1]
        raise NotFoundError(f"Device configuration {config} not found.")

    async def create_device(self, request: DeviceRequest) -> DeviceConfig:
        await self._meet("create_device", request, changes=True)
        made = device(
            request.name,
            request.name,
            1,
            approvals_required=request.approvals_required,
            link_ttl_seconds=request.link_ttl_seconds,
            retention_seconds=request.retention_seconds,
            description=request.description,
            created_at=self.world.now,
        )
        self.world.devices[made.id] = [made]
        self.world.changed(f"DEVICE_CONFIG:{made.id}")
        return made

    async def update_device(self, request: DeviceUpdate) -> DeviceConfig:
        await self._meet("update_device", request, changes=True)
        newest = await self.device(request.config)
        changes = {
            name: value
            for name in ("approvals_required", "format", "link_ttl_seconds", "retention_seconds", "description")
            if (value := getattr(request, name)) is not None
        }
        made = msgspec.structs.replace(newest, version=newest.version + 1, **changes)
        self.world.devices[newest.id].append(made)
        self.world.changed(f"DEVICE_CONFIG:{made.id}")
        return made

    async def device_certificates(self, config: str, version: int | None = None) -> tuple[DeviceCertificate, ...]:
        await self._meet("device_certificates", config, version)
        key = (await self.device(config, version)).signing
        return (
            DeviceCertificate(
                kind=KeyRole.SIGNING,
                name=key.name,
                uri=key.uri,
                version=key.version,
                algorithm=key.algorithm,
                certificate=await self.certificate(""),
            ),
        )

    async def export_device_key(
        self, config: str, path: Path, *, encryption_key: str | None = None, confirmed: bool = False
    ) -> Path:
        await self._meet("export_device_key", config, path, confirmed, changes=True)
        if not confirmed:
            raise ConfirmationRequiredError("The key leaves the key store.")
        path.write_bytes(bytes(32))
        return path

    async def keys(self) -> tuple[KeyInfo, ...]:
        await self._meet("keys")
        version = KeyVersion(version=1, created_at=NOW - timedelta(days=20), origin="generated", fingerprint=sha("k"))
        return (
            KeyInfo(uri="local:gateway-encryption", kind=KeyType.AES_256, purpose=KeyPurpose.BOTH, versions=(version,)),
            KeyInfo(uri="local:gateway-signing", kind=KeyType.EC_P256, purpose=KeyPurpose.BOTH, versions=(version,)),
        )

    async def import_key(self, request: KeyImport) -> KeyInfo:
        await self._meet("import_key", request.uri, changes=True)
        return (await self.keys())[0]

    async def rotate_key(self, uri: str) -> KeyInfo:
        await self._meet("rotate_key", uri, changes=True)
        return (await self.keys())[0]

    async def access(self) -> AccessControlList:
        await self._meet("access")
        world = self.world
        return AccessControlList(
            subjects=tuple(world.subjects), memberships=tuple(world.memberships), rules=tuple(world.rules)
        )

    async def add_subject(self, subject: str, display_name: str = "") -> Subject:
        await self._meet("add_subject", subject, display_name, changes=True)
        made = Subject(id=subject, created_by=self.subject, created_at=self.world.now, display_name=display_name)
        self.world.subjects.append(made)
        self.world.changed(f"SUBJECT:{subject}")
        return made

    async def unlink_subject(self, subject: str) -> None:
        await self._meet("unbind_subject", subject, changes=True)

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership:
        await self._meet("add_member", group, member, confirmed, changes=True)
        made = self.world._membership(group, member)
        self.world.memberships.append(made)
        self.world.changed(f"SUBJECT:{group}")
        return made

    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None:
        await self._meet("remove_member", group, member, confirmed, changes=True)
        kept = [each for each in self.world.memberships if (each.group, each.member) != (group, member)]
        self.world.memberships[:] = kept
        self.world.changed(f"SUBJECT:{group}")

    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        await self._meet("add_rule", subject, resource, action, confirmed, changes=True)
        made = self.world._rule(subject, resource, action)
        self.world.rules.append(made)
        self.world.changed("ACL")
        return made

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        await self._meet("remove_rule", rule_id, confirmed, changes=True)
        found = next(each for each in self.world.rules if each.id == rule_id)
        if found.permanent:
            raise PermissionDeniedError("The initial administrator's rules cannot be removed.")
        if found.action is Action.APPROVE and not confirmed:
            raise ConfirmationRequiredError("Then nobody could approve for gateway.", "Confirm to do it all the same.")
        self.world.rules.remove(found)
        self.world.changed("ACL")

    async def policy(self) -> Policy:
        await self._meet("policy")
        return self.world.policy

    async def set_policy(self, policy: Policy) -> Policy:
        await self._meet("set_policy", policy, changes=True)
        self.world.policy = policy
        self.world.changed("POLICY")
        return policy

    # ---- webhooks

    async def webhooks(self) -> tuple[Webhook, ...]:
        await self._meet("webhooks")
        return tuple(self.world.webhooks)

    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook:
        await self._meet("add_webhook", request, changes=True)
        made = Webhook(
            id=f"h{len(self.world.webhooks)}",
            url=request.url,
            created_by=self.subject,
            created_at=self.world.now,
            events=request.events,
        )
        self.world.webhooks.append(made)
        self.world.changed(f"WEBHOOK:{made.id}")
        return IssuedWebhook(webhook=made, secret="whsec_" + "A" * 43 + "=")

    async def remove_webhook(self, webhook_id: str) -> None:
        await self._meet("remove_webhook", webhook_id, changes=True)
        self.world.webhooks[:] = [each for each in self.world.webhooks if each.id != webhook_id]
        self.world.changed(f"WEBHOOK:{webhook_id}")

    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        await self._meet("dead_letters", webhook_id)
        return tuple(each for each in self.world.dead_letters if each.webhook_id == webhook_id)

    async def redeliver(self, letter_id: str) -> None:
        await self._meet("redeliver", letter_id, changes=True)
        self.world.dead_letters[:] = [each for each in self.world.dead_letters if each.id != letter_id]

    # ---- audit

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage:
        await self._meet("audit", filters, below)
        if ("RESOURCE_TYPE:AUDIT_LOG", Action.VIEW) not in self.world.rights.get(self.subject, ()):
            raise PermissionDeniedError(
                "You may not look at the audit log.", "Ask an administrator for VIEW on AUDIT_LOG."
            )
        found = []
        for entry in reversed(self.world.entries[: below if below is not None else None]):
            if filters.matches(entry):
                found.append(entry)
                if len(found) == limit:
                    return AuditPage(entries=tuple(found), next=entry.seq)
        return AuditPage(entries=tuple(found))

    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        await self._meet("verify_audit", checkpoint)
        size = len(self.world.entries)
        for done in (size // 2, size):
            if progress is not None:
                progress(done, size)
        return AuditReport(
            origin="sealyard/w1",
            size=size,
            checkpointed_size=size - 2,
            root=sha("root"),
            checkpoints_checked=3,
            key_fingerprint=sha("audit key"),
        )

    async def export_audit(self, kind: str) -> AsyncIterator[str]:
        await self._meet("export_audit", kind)
        for entry in self.world.entries:
            yield msgspec.json.encode(entry).decode() + "\n" if kind == "jsonl" else f"{entry.seq},{entry.author}\r\n"

    # ---- credentials

    async def tokens(self) -> tuple[AccessToken, ...]:
        await self._meet("tokens")
        return tuple(each for each in self.world.tokens if each.subject == self.subject)

    async def create_token(self, request: TokenRequest) -> IssuedToken:
        await self._meet("create_token", request, changes=True)
        made = AccessToken(
            id=f"token{len(self.world.tokens)}",
            name=request.name,
            subject=request.subject or self.subject,
            created_by=self.subject,
            created_at=self.world.now,
            expires_at=self.world.now + timedelta(seconds=request.seconds or 90 * 24 * 3600),
            is_machine=request.is_machine,
        )
        self.world.tokens.append(made)
        return IssuedToken(token=made, secret=f"sy_{made.id}_{sha(made.id)}")

    async def revoke_token(self, token_id: str) -> None:
        await self._meet("revoke_token", token_id, changes=True)
        self.world.tokens = [
            msgspec.structs.replace(each, revoked_at=self.world.now) if each.id == token_id else each
            for each in self.world.tokens
        ]

    async def one_time_password(self) -> OtpStatus:
        await self._meet("one_time_password")
        return OtpStatus(subject=self.subject, enrolled=self.subject in self.world.enrolled)

    async def enroll_otp(self, current: str | None = None) -> OtpEnrollment:
        await self._meet("enrol_one_time_password", changes=True)
        return OtpEnrollment(subject=self.subject, secret="AAAA", uri="otpauth://totp/Sealyard:owner")

    async def confirm_one_time_password(self, password: str) -> None:
        await self._meet("confirm_one_time_password", changes=True)
        if password != self.world.one_time_password:
            raise OneTimePasswordError("The one-time password is wrong.", "Wait for the next one, then try again.")
        self.world.enrolled.add(self.subject)

    async def reset_one_time_password(self, subject: str) -> None:
        await self._meet("reset_one_time_password", subject, changes=True)
        self.world.enrolled.discard(subject)

    # ---- the whole

    async def workspace(self) -> WorkspaceInfo:
        await self._meet("workspace")
        return WorkspaceInfo(
            id="w1",
            name="demo",
            location="/srv/yard",
            demo=self.world.demo,
            subject=self.subject,
            trust_note=self.world.four_eyes,
            read_only=self.world.read_only,
            key_store="passphrase",
            audit_size=len(self.world.entries),
            audit_checkpointed=len(self.world.entries) - 2,
            rights=self.world.rights.get(self.subject, ()),
            warnings=self.world.warnings,
        )

    async def cursor(self) -> int:
        await self._meet("cursor")
        return self.world._cursor

    async def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        await self._meet("events")
        queue: asyncio.Queue[Event] = asyncio.Queue()
        for event in self.world._told:
            if after is not None and event.cursor > after:
                queue.put_nowait(event)
        self.world._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.world._listeners.remove(queue)

    async def close(self) -> None:
        return None


class WorldConnection:
    """A :class:`~sealyard_tui.session.connections.WorkspaceConnection` to a world; ``gate`` delays the engine."""

    read_only = False

    def __init__(
        self,
        world: World,
        gate: asyncio.Event | None = None,
        way: ConnectionMode = ConnectionMode.OWNER,
        host: str = "",
    ) -> None:
        self.on_error: ErrorCallback = lambda _: None
        self.mode = way
        self.host = host
        self.lock_error = world.held
        self.world = world
        self.gate = gate
        self._on_link: StatusCallback | None = None

    async def connect(self, profile: Profile, on_link: StatusCallback) -> WorldClient:
        if self.gate is not None:
            await self.gate.wait()
        if "connect" in self.world.fail:
            raise self.world.fail["connect"]
        self._on_link = on_link
        return WorldClient(self.world, profile.identity)

    async def start_listening(self) -> None:
        return None

    async def close(self) -> None:
        return None

    # ---- for tests

    def lose(self) -> None:
        """The line is lost now; the last answer came six seconds before. Whoever asks waits in vain."""
        now = self.world.now
        self.world.lost = LOST
        self.tell(ConnectionStatus(last_answer_at=now - timedelta(seconds=6), reconnecting_since=now))

    def find(self, way: ConnectionMode | None = None) -> None:
        """It is there again, perhaps as another ``way``."""
        self.world.lost = None
        self.mode = way or self.mode
        self.tell(ConnectionStatus(last_answer_at=self.world.now))

    def tell(self, link: ConnectionStatus) -> None:
        assert self._on_link is not None
        self._on_link(link)
