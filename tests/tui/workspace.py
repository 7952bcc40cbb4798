"""Workspaces for tests of the application: a real engine with a fake clock, fake workers and repeatable ids."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import msgspec
import pytest

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.embedded_calls import EMBEDDED_TRUST_NOTE
from sealyard.client.protocol import Client
from sealyard.engine.engine import Engine
from sealyard.engine.execution.progress import INITIAL_RATE
from sealyard.engine.state.tables import DEVICE_VERSIONS, DEVICES, version_id
from sealyard.model.access import SYSTEM_SUBJECT, Action, ResourceType, resource_type_uri
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, SigningAlgorithm
from sealyard.model.approval import approval_digest
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import PermissionDeniedError, WorkerError
from sealyard.model.lifecycle import MAX_LEASE_LOSSES
from sealyard.model.requests import DeviceRequest, DeviceUpdate, EncryptionKeyRequest, PackageRequest, SigningKeyRequest
from sealyard.model.tasks import InputFile, ResultState, Task, TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.clock import FakeClock
from tests.support.current_loop import CurrentLoop
from tests.support.engine_harness import EngineHarness
from tests.support.fault_injection import Faults, inject_faults
from tests.support.in_memory_keys import InMemoryKeys

DEVELOPER, OWNER, AUDITOR, ADMINISTRATOR = "USER:developer", "USER:owner", "USER:auditor", "USER:administrator"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
RELEASE = b'{\n  "version": "1.5.0",\n  "notes": "fixes the watchdog"\n}'
FIRMWARE = {"bootloader.bin": b"\x01" * 65_536, "application.bin": b"\x02" * 1_048_576}
METADATA = {"release.json": RELEASE}
SMALL_FIRMWARE = {"application.bin": b"\x03" * 512}

RUNNING_BYTES = 70 * int(INITIAL_RATE)
"""Size of the running task as its worker reports it: at 40 %, 42 seconds remain."""

SHOWN_FOLDER = Path("/srv/yard")
"""The folder that the application shows, the same in every run."""

_ID_USERS = (
    "access.administration",
    "access.tokens",
    "devices.configs",
    "notifications.registry",
    "tasks.create",
    "webhooks.registry",
)


_AUDIT_ENTRIES = (
    (DEVELOPER, AuditAction.CREATED, "package requested"),
    (OWNER, AuditAction.APPROVED, "approved by USER:owner"),
    (SYSTEM_SUBJECT, AuditAction.STATUS_CHANGED, "status changed to SCHEDULED"),
    (SYSTEM_SUBJECT, AuditAction.KEY_USED, "signing key used"),
    (DEVELOPER, AuditAction.DOWNLOADED, "gateway-release.se-1"),
    (DEVELOPER, AuditAction.REFUSED, "You cannot decide on your own task."),
)


class FakeIds:
    """Replaces the engine's random ids: returns the ids that the test chooses, otherwise numbered ones."""

    def __init__(self, prefix: str) -> None:
        self.chosen: deque[str] = deque()
        self._prefix = prefix
        self._count = 0

    def __call__(self) -> str:
        if self.chosen:
            return self.chosen.popleft()
        self._count += 1
        return f"{self._prefix}{self._count:09}"


def make_repeatable(ids: FakeIds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make engines use ``ids``, and neither checkpoints nor estimates that depend on the time that a test takes."""
    for module in _ID_USERS:
        monkeypatch.setattr(f"sealyard.engine.{module}.new_id", ids)
    monkeypatch.setattr("sealyard.engine.audit.checkpointing.CHECKPOINT_INTERVAL", 3600.0)
    monkeypatch.setattr("sealyard.engine.execution.progress.MIN_SAMPLE_SECONDS", 3600.0)


class TuiWorkspace(EngineHarness):
    """A workspace with the application's four users, and clients for them whose calls can be made to fail."""

    administrator = ADMINISTRATOR
    name = "demo"

    def __init__(self, root: Path, ids: FakeIds, keys: InMemoryKeys | None = None, clock: FakeClock | None = None):
        super().__init__(root, keys, clock or FakeClock(NOW))
        self.ids = ids
        self.faults = Faults()
        self.trust_note = EMBEDDED_TRUST_NOTE

    async def open(self, *, work: bool = True) -> Engine:
        self._loop = CurrentLoop()
        engine = await super().open(work=work)
        engine.paths = WorkspacePaths(SHOWN_FOLDER)
        self.bus.confirms_stops = True
        return engine

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def has_listeners(self) -> bool:
        """Whether a session receives events; progress is not repeated for later listeners."""
        return bool(self.engine.events._listeners)

    def tasks(self) -> list[Task]:
        """Return all tasks, newest first, with the progress of those that are running or queued."""
        return [self.engine.queries.refresh(task) for task in self.engine.repository.tasks({})]

    def client(self, subject: str) -> Client:
        """Return a client for ``subject``; its calls are recorded, and fail as :attr:`faults` says."""
        return inject_faults(EmbeddedClient(self.engine, self._loop, subject, self.trust_note), self.faults)

    # ---- actions of other users and of workers

    async def add_user(self, subject: str, action: Action, config: str = "gateway") -> None:
        """Add a user with a permission on a device configuration."""
        await self.add_subject(subject)
        await self.add_rule(subject, f"DEVICE_CONFIG:{config}", action)

    async def upload_all(self, files: Mapping[str, bytes]) -> tuple[InputFile, ...]:
        return tuple([await self.upload(content, name) for name, content in files.items()])

    async def add_task(
        self,
        task_id: str = "",
        *,
        name: str = "",
        by: str = DEVELOPER,
        config: str = "gateway",
        firmware: Mapping[str, bytes] = SMALL_FIRMWARE,
        metadata: Mapping[str, bytes] | None = None,
    ) -> Task:
        """Request a package; return the task, which waits for approval."""
        request = PackageRequest(
            config=config,
            firmware=await self.upload_all(firmware),
            metadata=await self.upload_all(metadata or {}),
            name=name or f"release {task_id}",
            content_type="firmware",
        )
        if task_id:
            self.ids.chosen.append(task_id)
        task = await self.execute(by, self.engine.creation.create_package(by, request))
        return self.task(task.id)

    async def add_tasks(self, count: int) -> None:
        """Add many waiting tasks in few commits: request the first one, then store copies of it.

        The tasks are called ``m00000``, ``m00001``, …; each is a second older than the one before.
        """
        original = await self.add_task("m00000", name="copy 00000")
        unit_of_work = self.engine.repository.begin()
        for number in range(1, count):
            copy = msgspec.structs.replace(
                original,
                id=f"m{number:05}",
                name=f"copy {number:05}",
                created_at=self.now - timedelta(seconds=number),
            )
            unit_of_work.create_task(msgspec.structs.replace(copy, approval_digest=approval_digest(copy)))
        await unit_of_work.commit()

    async def store_device(self, device: DeviceConfig) -> None:
        """Store a version of a configuration as it is, as another version of Sealyard could have stored it."""
        unit_of_work = self.engine.repository.begin()
        unit_of_work.put(DEVICES, device.id, device)
        unit_of_work.put(DEVICE_VERSIONS, version_id(device.id, device.version), device)
        await unit_of_work.commit()

    async def add_audit_entries(self, count: int, notify: int = 0) -> None:
        """Add ``count`` audit entries in one commit, six for each of several tasks, with ``notify`` events."""
        unit_of_work = self.engine.repository.begin()
        for number, (author, change, message) in zip(range(count), cycle(_AUDIT_ENTRIES), strict=False):
            code = PermissionDeniedError.code if change is AuditAction.REFUSED else ""
            unit_of_work.audit(author, change, f"TASK:audited-{number // len(_AUDIT_ENTRIES)}", message, None, code)
        for _ in range(notify):
            unit_of_work.notify("KEY:local:x")
        await unit_of_work.commit()

    async def checkpoint_audit(self) -> None:
        """Cover all audit entries with a checkpoint; otherwise this happens when the engine closes."""
        assert self.engine._checkpoint_loop is not None
        await self.engine._checkpoint_loop.checkpoint()

    async def reject(self, task: Task, reason: str = "wrong bootloader", by: str = OWNER) -> Task:
        return await self.decide(task, by, Verdict.REJECTED, reason)

    async def complete(self, task: Task, content: bytes = b"a container") -> Task:
        """Approve a waiting task, and let its worker finish it."""
        return await self.finish((await self.approve(task)).id, content)

    async def finish(self, task_id: str, content: bytes = b"a container") -> Task:
        """Let the worker of a task finish it."""
        worker = await self.wait_for_worker(task_id)
        worker.request_signing()
        await self.wait_until(lambda: worker.permitted)
        worker.finish(content)
        return await self.wait_until_final(task_id)

    async def fail(self, task_id: str, reason: str = "the disk is full") -> Task:
        """Let the worker of a task fail; approve the task if it is waiting."""
        if self.task(task_id).status is TaskStatus.WAITING:
            await self.approve(self.task(task_id))
        (await self.wait_for_worker(task_id)).fail(WorkerError(reason))
        return await self.wait_until_final(task_id)

    async def report_progress(self, task_id: str, done: int, total: int) -> None:
        (await self.wait_for_worker(task_id)).send_heartbeat(done, total)

    async def wait_for_result_state(self, task_id: str, state: ResultState) -> None:
        """Wait until the engine has recorded the state of the task's result."""

        def has_state() -> bool:
            result = self.task(task_id).result
            return result is not None and result.state is state

        await self.wait_until(has_state)
        await self.wait_until_durable()

    async def start_running_task(self) -> None:
        """Approve ``t-running``, whose worker reports 40 %, and then ``t-queued``, which no worker can take."""
        self.bus.small_slots = 1
        await self.approve(self.task("t-running"))
        await self.report_progress("t-running", RUNNING_BYTES * 2 // 5, RUNNING_BYTES)
        await self.approve(self.task("t-queued"))


class WorkspaceTemplate:
    """Workspaces on disk to copy: ``empty`` has users and configurations, ``usual`` has tasks in most states, too."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._workspace = TuiWorkspace(root / "empty", FakeIds("t"), clock=FakeClock(NOW - timedelta(days=50)))
        self._shelves = {"empty": self._workspace.shelf}
        """The keys, and the last signed checkpoint, of each workspace."""

    async def build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        make_repeatable(self._workspace.ids, monkeypatch)
        await self._workspace.create(demo=True)
        await self._workspace.open()
        await _add_users_and_devices(self._workspace)
        await self._workspace.close()
        shutil.copytree(self._root / "empty", self._root / "usual")
        usual = TuiWorkspace(
            self._root / "usual",
            self._workspace.ids,
            self._workspace.shelf.copy(self._workspace.clock),
            FakeClock(self._workspace.now),
        )
        await usual.open()
        await _add_usual_tasks(usual)
        await usual.close()
        self._shelves["usual"] = usual.shelf

    async def extend(
        self, name: str, base: str, change: Callable[[TuiWorkspace], Awaitable[None]], now: datetime = NOW
    ) -> None:
        """Add the template ``name``, a copy of ``base`` after ``change``, unless there is one."""
        if name in self._shelves:
            return
        with pytest.MonkeyPatch.context() as monkeypatch:
            make_repeatable(ids := FakeIds(name[0]), monkeypatch)
            workspace = self.copy(base, self._root / name, ids, now)
            await workspace.open()
            await change(workspace)
            await workspace.close()
        self._shelves[name] = workspace.shelf

    def copy(self, name: str, root: Path, ids: FakeIds, now: datetime = NOW) -> TuiWorkspace:
        """Return a copy of the template ``name`` in the folder ``root``, not yet opened."""
        shutil.copytree(self._root / name, root)
        clock = FakeClock(now)
        return TuiWorkspace(root, ids, self._shelves[name].copy(clock), clock)


async def _add_users_and_devices(workspace: TuiWorkspace) -> None:
    administrator = workspace.client(ADMINISTRATOR)
    await administrator.add_subject(DEVELOPER, "Dana Developer")
    await administrator.add_subject(OWNER, "Olga Owner")
    await administrator.add_subject(AUDITOR, "Aki Auditor")
    await administrator.add_subject("GROUP:owners")
    await administrator.add_member("GROUP:owners", OWNER)
    await administrator.add_rule(AUDITOR, resource_type_uri(ResourceType.AUDIT_LOG), Action.VIEW)
    workspace.ids.chosen.append("gw")
    await administrator.create_device(
        DeviceRequest(
            name="gateway",
            encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
            signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256),),
            use=(DEVELOPER,),
            approve=(OWNER,),
            purpose=KeyPurpose.PACKAGE,
        )
    )
    await administrator.update_device(DeviceUpdate(config="gateway", description="The gateway in the field"))
    workspace.ids.chosen.append("sensor")
    await administrator.create_device(
        DeviceRequest(
            name="sensor",
            encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD),),
            signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
            use=(DEVELOPER,),
            approve=(OWNER,),
        )
    )


async def _add_usual_tasks(workspace: TuiWorkspace) -> None:
    """Create a task in each state that survives a restart of the engine, oldest first."""

    async def add_gateway(minutes: int, task_id: str, name: str) -> Task:
        workspace.clock.move_to(NOW - timedelta(minutes=minutes))
        return await workspace.add_task(task_id, name=name, firmware=FIRMWARE, metadata=METADATA)

    workspace.clock.move_to(NOW - timedelta(minutes=63_000))
    await _add_signature(workspace)
    failed = await workspace.approve(await add_gateway(62_000, "t-failed", "gateway 1.3.8"))
    for _ in range(MAX_LEASE_LOSSES):
        (await workspace.wait_for_worker(failed)).crash()
    await workspace.wait_until_final(failed)
    await workspace.reject(await add_gateway(61_000, "t-rejected", "gateway 1.3.9"))
    await workspace.complete(await add_gateway(60_000, "t-gone", "gateway 1.4.0"))
    workspace.clock.move_to(NOW - timedelta(minutes=3_000))
    await workspace.wait_for_result_state("t-gone", ResultState.GONE)
    await workspace.complete(await add_gateway(3_000, "t-expired", "gateway 1.4.1"))
    workspace.clock.move_to(NOW - timedelta(minutes=240))
    await workspace.wait_for_result_state("t-expired", ResultState.EXPIRED)
    await workspace.complete(await add_gateway(240, "t-done", "gateway 1.4.2"))
    await add_gateway(7, "t-queued", "gateway 1.4.3 beta")
    await add_gateway(6, "t-running", "gateway 1.4.3")
    await add_gateway(2, "t-waiting", "gateway 1.5.0")


async def _add_signature(workspace: TuiWorkspace) -> None:
    workspace.ids.chosen.append("t-signed")
    task = await workspace.signing(
        DEVELOPER, config="sensor", message=b"manifest", file_name="manifest.json", name="manifest"
    )
    worker = await workspace.wait_for_worker(await workspace.approve(task))
    worker.request_signing()
    await workspace.wait_until(lambda: worker.permitted)
    worker.finish_signature(hashlib.sha512(b"signature").digest())
    await workspace.wait_until_final(task)
