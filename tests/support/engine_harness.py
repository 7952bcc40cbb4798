"""Harness for tests of the engine: a real store, artifacts and audit log, with a fake clock and a fake bus."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from sealyard.audit.reader import AuditReader
from sealyard.audit.source import AuditSource
from sealyard.engine.audit.checkpointing import migrate_pending_entries
from sealyard.engine.audit.history import require_same_history
from sealyard.engine.engine import Engine
from sealyard.engine.state.events import EventBroadcaster
from sealyard.engine.state.open_state import acquire_lease, open_state
from sealyard.engine.state.tables import TASKS
from sealyard.engine.workspace import create_layout, load_metadata, save_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.bus import Reattachment
from sealyard.model.access import AclRule, Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.events import Event
from sealyard.model.policy import Policy
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    EncryptionRequest,
    PackageRequest,
    SigningKeyRequest,
    SigningRequest,
)
from sealyard.model.tasks import InputFile, Task, TaskStatus, Verdict
from sealyard.model.workspace import LAYOUT_VERSION, KeyStore, WorkspaceMetadata, WorkspacePaths
from sealyard.model.zones import ZoneSettings
from sealyard.storage.artifacts import ArtifactStore, FileArtifacts
from sealyard.storage.documents import WriteBatch
from tests.support.clock import FakeClock
from tests.support.fake_bus import FakeBus, FakeWorker
from tests.support.in_memory_keys import InMemoryKeys
from tests.support.limits import TIMEOUT
from tests.support.postgres import TestDatabase
from tests.support.remote_artifacts import FakeRemoteArtifacts

T = TypeVar("T")

ADMIN, DEV, OWNER, SECOND, CLIENT = "USER:admin", "USER:dev", "USER:owner", "USER:second", "CLIENT:ci"
GATEWAY = "gateway"


def device_request(
    name: str,
    *,
    encryption: EncryptionAlgorithm = EncryptionAlgorithm.AES128_CTR_NO_PAD,
    signing: SigningAlgorithm = SigningAlgorithm.ED25519,
    encryption_key: str | None = None,
    signing_key: str | None = None,
    **fields: Any,
) -> DeviceRequest:
    """Return a request with one encryption key and one signing key, unless ``fields`` contain lists of keys."""
    keys = {
        "encryption_keys": (EncryptionKeyRequest(algorithm=encryption, uri=encryption_key),),
        "signing_keys": (SigningKeyRequest(algorithm=signing, uri=signing_key),),
    }
    return DeviceRequest(name=name, **{**keys, **fields})


class EngineHarness:
    """A workspace whose engine can be opened and closed repeatedly."""

    engine: Engine
    bus: FakeBus

    administrator = ADMIN
    name = "test"
    zone: ZoneSettings | UnsetType = UNSET
    is_remote = False
    """Whether the workers are on other machines; inputs and results are in a fake store then."""
    key_check_interval: float | None = None
    """Seconds between two background checks of a key. Their sleeping loop would disturb tests of other loops."""

    def __init__(
        self,
        root: Path,
        shelf: InMemoryKeys | None = None,
        clock: FakeClock | None = None,
        database: TestDatabase | None = None,
    ) -> None:
        """Create a harness. ``database`` contains the store and the audit log; by default, the folder does."""
        self.paths = WorkspacePaths(root)
        self.database = database
        self.clock = clock or FakeClock()
        self.shelf = shelf or InMemoryKeys("sealyard/w1", self.clock)
        self.is_open = False
        self.reattachments: dict[str, Reattachment] = {}
        """By task id, the jobs that the bus finds when the engine is opened again."""

    # ---- open and close

    async def create(self, *, demo: bool = False) -> None:
        """Create the workspace with its administrator."""
        file = WorkspaceMetadata(
            id="w1",
            name=self.name,
            format=LAYOUT_VERSION,
            demo=demo,
            key_store=KeyStore.PASSPHRASE,
            administrator=self.administrator,
            created_at=self.clock.now(),
            database=UNSET if self.database is None else self.database.connection_string,
            zone=self.zone,
        )
        create_layout(self.paths, file)
        await self.open(work=False)
        draft = self.engine.repository.begin()
        self.engine.access.grant_initial_admin(draft, self.administrator)
        await draft.commit()
        await self.close()

    async def open(self, *, work: bool = True) -> Engine:
        metadata = load_metadata(self.paths)
        lease = await acquire_lease(metadata)
        lock = WorkspaceLock.acquire(self.paths.lock, "test")
        self.bus = FakeBus(self.shelf, self.clock)
        self.bus.is_remote, self.bus.reattachments = self.is_remote, self.reattachments
        state = await open_state(self.paths, metadata, self.bus, lease)
        assert state.audit is not None
        require_same_history(state.store, state.audit, state.audit.size)
        migrate_pending_entries(state.store, state.audit)
        self.engine = Engine(metadata, self.paths, await self.open_artifacts(), self.bus, self.clock, state)
        self.is_open = True
        await self.engine.start(lock, work=work, key_check_interval=self.key_check_interval)
        return self.engine

    async def open_artifacts(self) -> ArtifactStore:
        folder = self.paths.artifacts
        self.artifacts = FakeRemoteArtifacts(folder) if self.is_remote else FileArtifacts(folder)
        return self.artifacts

    async def close(self) -> None:
        self.is_open = False
        await self.engine.close()

    async def reopen(self, *, work: bool = True) -> Engine:
        await self.close()
        return await self.open(work=work)

    async def copy_as_if_killed(self) -> EngineHarness:
        """Copy the workspace as kill -9 would leave it now, then close this engine. The copy is not opened."""
        root = self.paths.root.with_name(f"{self.paths.root.name}-killed")
        # Both copies are made without a pause, so that no checkpoint is signed between them.
        shutil.copytree(self.paths.root, root)
        shelf = self.shelf.copy(self.clock)
        database = None if self.database is None else self.database.copy()
        await self.close()
        copy = EngineHarness(root, shelf, self.clock, database)
        if database is not None:
            database.expire_lease()
            metadata = load_metadata(copy.paths)
            save_metadata(copy.paths, msgspec.structs.replace(metadata, database=database.connection_string))
        return copy

    @property
    def audit_source(self) -> AuditSource:
        """The stored audit log, which can also be read while the engine is closed."""
        if self.database is None:
            return AuditReader(self.paths.audit)
        from sealyard.storage.postgres.audit import PgAuditReader
        from sealyard.storage.postgres.connection import Database

        return PgAuditReader(Database(self.database.connection_string), "w1")

    # ---- setup

    async def add_default_subjects(self, *, approvals: int = 1, **device: Any) -> DeviceConfig:
        """Add the subjects, and a configuration that dev uses and that owner and second approve."""
        for each in (DEV, OWNER, SECOND, CLIENT):
            await self.add_subject(each)
        return await self.create_device(approvals_required=approvals, **device)

    async def add_subject(self, subject: str) -> None:
        await self.execute(self.administrator, self.engine.access.add_subject(self.administrator, subject, ""))

    async def add_member(self, group: str, member: str) -> None:
        await self.execute(self.administrator, self.engine.access.add_member(self.administrator, group, member))

    async def add_rule(self, subject: str, resource: str, action: Action) -> AclRule:
        return await self.add_rule_as(self.administrator, subject, resource, action)

    async def add_rule_as(self, author: str, subject: str, resource: str, action: Action) -> AclRule:
        return await self.execute(author, self.engine.access.add_rule(author, subject, resource, action))

    async def remove_rule(self, subject: str, action: Action, *, confirmed: bool = True) -> None:
        """All rules of the subject with this action."""
        for each in self.engine.access.access(self.administrator).rules:
            if (each.subject, each.action) == (subject, action) and not each.permanent:
                removing = self.engine.access.remove_rule(self.administrator, each.id, confirmed=confirmed)
                await self.execute(self.administrator, removing)

    async def create_device(self, name: str = GATEWAY, **more: Any) -> DeviceConfig:
        request = device_request(name, **{"use": (DEV, CLIENT), "approve": (OWNER, SECOND), **more})
        return await self.execute(self.administrator, self.engine.devices.create(self.administrator, request))

    async def set_policy(self, **changes: Any) -> Policy:
        return await self.execute(
            self.administrator, self.engine.access.set_policy(self.administrator, Policy(**changes))
        )

    # ---- use cases

    async def execute(self, subject: str, use_case: Awaitable[T]) -> T:
        return await self.engine.execute(subject, "TEST", use_case)

    async def upload(self, content: bytes = b"firmware", name: str = "firmware.bin") -> InputFile:
        return await self.engine.inputs.ingest_bytes(name, content)

    async def package(self, by: str = DEV, *, files: int = 1, config: str = GATEWAY, **fields: Any) -> Task:
        """Create a packaging task and return its current state."""
        if "firmware" not in fields:
            fields["firmware"] = tuple([await self.upload(f"firmware {each}".encode()) for each in range(files)])
        task = await self.execute(by, self.engine.creation.create_package(by, PackageRequest(config=config, **fields)))
        return self.task(task.id)

    async def encryption(self, by: str = DEV, *, config: str = GATEWAY, **fields: Any) -> Task:
        if "file" not in fields:
            fields["file"] = await self.upload()
        task = await self.execute(
            by, self.engine.creation.create_encryption(by, EncryptionRequest(config=config, **fields))
        )
        return self.task(task.id)

    async def signing(
        self, by: str = DEV, *, config: str = GATEWAY, message: bytes = b"sign me", **fields: Any
    ) -> Task:
        request = SigningRequest(config=config, message=message, **fields)
        return await self.execute(by, self.engine.creation.create_signing(by, request))

    async def decide(self, task: Task, by: str, verdict: Verdict = Verdict.APPROVED, reason: str = "") -> Task:
        return await self.execute(by, self.engine.decisions.decide(by, task.id, verdict, reason, None))

    async def approve(self, task: Task, by: str = OWNER) -> Task:
        return await self.decide(task, by)

    async def approved_package(self, **fields: Any) -> Task:
        return await self.approve(await self.package(**fields))

    async def cancel(self, task: Task, by: str = DEV) -> Task:
        return await self.execute(by, self.engine.decisions.cancel(by, task.id))

    async def done_package(self, content: bytes = b"a container") -> Task:
        """Create a package and run it until it is DONE."""
        worker = await self.wait_for_worker(await self.approved_package())
        worker.request_signing()
        await self.wait_until(lambda: worker.permitted)
        worker.finish(content)
        return await self.wait_until_final(worker.id)

    # ---- state

    def task(self, task_id: str) -> Task:
        return self.engine.repository.task(task_id)

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until ``condition`` is true."""
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                await asyncio.sleep(0.001)

    async def insert_tasks(self, *tasks: Task) -> None:
        """Store tasks without the lifecycle checks, as a crash or another version could have left them."""
        puts = tuple((TASKS.name, task.id, msgspec.Raw(msgspec.json.encode(task))) for task in tasks)
        await asyncio.wrap_future(self.engine.store.submit(WriteBatch(puts=puts)))

    async def advance_clock(self, **by: float) -> None:
        """Advance the clock (``hours=1``, ``microseconds=1``) as soon as a coroutine sleeps."""
        await self.wait_until(lambda: self.clock.has_sleeper(3600))
        self.clock.advance(**by)

    async def apply_deadlines(self) -> None:
        """Advance the clock by a second, and wait until the engine has handled the deadlines that have passed."""
        await self.advance_clock(seconds=1)
        await self.wait_until(lambda: self.clock.has_sleeper(3600))
        await self.wait_until_durable()

    async def wait_for_status(self, task: Task | str, status: TaskStatus) -> Task:
        task_id = task if isinstance(task, str) else task.id
        try:
            await self.wait_until(lambda: self.task(task_id).status is status)
        except TimeoutError:
            raise AssertionError(f"{self.task(task_id)} did not become {status}") from None
        await self.wait_until_durable()
        return self.task(task_id)

    async def wait_until_final(self, task: Task | str) -> Task:
        task_id = task if isinstance(task, str) else task.id
        await self.wait_until(lambda: self.task(task_id).status.is_final)
        await self.wait_until_durable()
        return self.task(task_id)

    async def wait_until_durable(self) -> None:
        """Wait until all commits are on the disk and published."""
        unit = self.engine.repository.begin()
        await unit.commit()

    async def wait_for_worker(self, task: Task | str) -> FakeWorker:
        """Wait until a worker runs the task, and return it."""
        task_id = task if isinstance(task, str) else task.id
        try:
            await self.wait_until(lambda: task_id in self.bus.jobs)
        except TimeoutError:
            raise AssertionError(f"{self.task(task_id)} was not sent to a worker") from None
        return FakeWorker(self.bus, self.bus.jobs[task_id], self.artifacts, self.clock)

    async def audit_entries(self, change: AuditAction | None = None, about: str = "") -> list[AuditEntry]:
        """Return the audit entries, oldest first."""
        match = AuditFilter(change=change, resource=about)
        page = await self.engine.audit.page(self.administrator, match, None, 1000)
        return list(reversed(page.entries))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def listen(broadcaster: EventBroadcaster, after: int | None) -> AsyncIterator[Event]:
    """Yield the events of a broadcaster one by one."""
    async for batch in broadcaster.batches(after):
        for event in batch:
            yield event
