"""Tests of the folder of a crypto host: created from an enrollment, then used by a real key holder and real workers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.agent.host_folder import build_host_location, create_host, load_host, verify_pinned
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.worker_pool import PoolReport, WorkerPool
from sealyard.keys.master_key import open_key_store
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import (
    InvalidInputError,
    KeyStoreCorruptedError,
    KeyStoreLockedError,
    SealyardError,
    UsageError,
    WorkspaceError,
)
from sealyard.model.key_commands import ExportKey, GenerateKey, KeyCommand
from sealyard.model.key_holder_messages import KeyStoreLocation
from sealyard.model.keys import KeyInfo
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    JobFinished,
    KeyResponse,
    OrderRefused,
    RunJob,
    SigningPermissionRequested,
    WorkerLost,
)
from sealyard.model.workspace import KeyStore, WorkspacePaths
from sealyard.model.zones import Enrollment, ZoneIdentity
from tests.support.bus_driver import ConstantClock, run_within
from tests.support.key_holders import unlock
from tests.support.worker_harness import NOW, PASSPHRASE, WorkerWorkspace, permit
from tests.support.zone_engine import ZoneEngine

BUS = "service=bus"
SIGNING_KEY = GenerateKey(
    uri="local:both", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="both", created_by="USER:admin"
)
CONTENT_KEY = GenerateKey(
    uri="local:content", kind=KeyType.AES_256, purpose=KeyPurpose.BOTH, subject="content", created_by="USER:admin"
)

Start = Callable[[KeyStoreLocation, Enrollment], KeyHolder]


def start_with(passphrase: str) -> Start:
    return lambda location, enrollment: unlock(passphrase, enrollment=enrollment)(location)


def create(folder: Path, engine: ZoneEngine, **options: Any) -> ZoneIdentity:
    return asyncio.run(
        create_host(folder, engine.enrollment, BUS, start_with(PASSPHRASE), datetime.now(UTC), **options)
    )


class Host:
    """A running crypto host without an agent: its key holder and workers."""

    def __init__(self, folder: Path, key_holder: KeyHolder, engine: ZoneEngine) -> None:
        self.folder = folder
        self.key_holder = key_holder
        self.engine = engine
        self.pool = WorkerPool(key_holder, WorkspacePaths(folder).worker_log, ConstantClock())
        self._reports = self.pool.reports()

    async def request(self, command: KeyCommand) -> KeyResponse:
        sealed = self.engine.seal(command)
        response = await self.pool.request(sealed.request_id, self.engine.sign(sealed))
        assert response is not None
        return self.engine.open_response(self.engine.open_report(response))

    async def generate(self, command: GenerateKey) -> KeyInfo:
        key = (await self.request(command)).key
        assert key is not None
        return key

    async def next(self) -> PoolReport:
        """Return the next report, after checking that the message is the signed one."""
        report = await anext(self._reports)
        if report.signed is not None:
            assert self.engine.open_report(report.signed) == report.message
        return report

    async def run(self, order: RunJob) -> JobFinished | OrderRefused | WorkerLost:
        """Run a job, answering its requests, and return the message that ends it."""
        task = order.job.task
        assert self.pool.reserve(task.id, task.total_bytes)
        await self.pool.prepare(task.id)
        await self.pool.start(task.id, task.fencing_token, self.engine.sign(order))
        while True:
            message = (await self.next()).message
            if isinstance(message, JobFinished | OrderRefused | WorkerLost):
                return message
            if isinstance(message, SigningPermissionRequested):
                await self.pool.send(task.id, task.fencing_token, self.engine.sign(permit(message)))
            if isinstance(message, BuildSecretCreated):
                recorded = BuildSecretRecorded(task_id=task.id, fencing_token=task.fencing_token)
                await self.pool.send(task.id, task.fencing_token, self.engine.sign(recorded))


@asynccontextmanager
async def run_host(folder: Path, engine: ZoneEngine) -> AsyncIterator[Host]:
    settings = load_host(folder)
    key_holder = unlock(PASSPHRASE)(build_host_location(WorkspacePaths(folder), settings.enrollment))
    host = Host(folder, key_holder, engine)
    try:
        verify_pinned(settings, await key_holder.get_zone_identity())
        yield host
    finally:
        await host.pool.close()
        key_holder.close()


@pytest.fixture(autouse=True)
def _anchors(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_ANCHORS", str(tmp_path_factory.mktemp("anchors")))


@pytest.fixture(scope="module")
def engine() -> ZoneEngine:
    return ZoneEngine()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, engine: ZoneEngine) -> Path:
    """The folder of a new crypto host."""
    folder = tmp_path_factory.mktemp("template") / "host"
    engine.zone_keys = create(folder, engine).keys
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "host")
    return tmp_path / "host"


def test_new_host_has_private_folder(folder: Path, template: Path, engine: ZoneEngine) -> None:
    settings = load_host(folder)
    assert (settings.enrollment, settings.bus) == (engine.enrollment, BUS)
    assert template.stat().st_mode & 0o777 == 0o700
    assert (template / "host.json").stat().st_mode & 0o777 == 0o600


def test_two_hosts_execute_signed_orders(folder: Path, tmp_path: Path, engine: ZoneEngine) -> None:
    second = tmp_path / "second"

    async def scenario() -> None:
        async with run_host(folder, engine) as host:
            keys = {"both": await host.generate(SIGNING_KEY), "content": await host.generate(CONTENT_KEY)}
            job = WorkerWorkspace(folder, keys).package(b"firmware")
            assert isinstance(await host.run(RunJob(job=job)), JobFinished)
        copied = tmp_path / "copied"
        shutil.copytree(folder / "keys", copied)
        identity = await create_host(second, engine.enrollment, BUS, start_with(PASSPHRASE), NOW, copied_keys=copied)
        assert identity.keys == engine.zone_keys
        async with run_host(folder, engine) as first_host, run_host(second, engine) as host:
            job = WorkerWorkspace(second, keys).package(b"firmware")
            assert isinstance(await host.run(RunJob(job=job)), JobFinished)
            exported = [await each.request(ExportKey(uri="local:content", version=1)) for each in (first_host, host)]
            assert exported[0].secret == exported[1].secret

    run_within(scenario())


def test_refused_orders_free_slot_and_request(folder: Path, engine: ZoneEngine) -> None:
    async def scenario() -> None:
        async with run_host(folder, engine) as host:
            keys = {"both": await host.generate(SIGNING_KEY)}
            job = WorkerWorkspace(folder, keys).signing(b"message")
            host.engine = ZoneEngine(seed=b"x" * 32)
            assert isinstance(await host.run(RunJob(job=job)), OrderRefused)
            assert host.pool.running_jobs == 0
            host.engine = engine
            assert isinstance(await host.run(RunJob(job=job)), JobFinished)
            expired = engine.seal(SIGNING_KEY, seconds=-1)
            with pytest.raises(SealyardError, match="valid until"):
                await host.pool.request(expired.request_id, engine.sign(expired))
            with pytest.raises(WorkspaceError, match="crypto host"):
                await host.key_holder.get_engine_keys()

    run_within(scenario())


def test_changed_host_file_is_detected(folder: Path, engine: ZoneEngine) -> None:
    settings = load_host(folder)
    identity = ZoneIdentity(enrollment=engine.enrollment, keys=engine.zone_keys)
    verify_pinned(settings, identity)
    changed = msgspec.structs.replace(settings, enrollment=ZoneEngine(seed=b"x" * 32).enrollment)
    with pytest.raises(WorkspaceError, match="another enrollment"):
        verify_pinned(changed, identity)


def test_key_store_without_pins_starts_no_worker(tmp_path: Path, engine: ZoneEngine) -> None:
    open_key_store(KeyStore.PASSPHRASE, tmp_path / "keys", "w1", PASSPHRASE, create=True)
    key_holder = unlock(PASSPHRASE)(build_host_location(WorkspacePaths(tmp_path), engine.enrollment))
    try:
        with pytest.raises(KeyStoreCorruptedError, match="no enrollment"):
            asyncio.run(key_holder.start_worker())
    finally:
        key_holder.close()


# ---- errors


def test_folder_in_use_is_refused(folder: Path, engine: ZoneEngine) -> None:
    with pytest.raises(WorkspaceError, match="not an empty folder"):
        create(folder, engine)


def test_bus_with_password_is_refused(tmp_path: Path, engine: ZoneEngine) -> None:
    with pytest.raises(UsageError, match="password"):
        asyncio.run(create_host(tmp_path / "new", engine.enrollment, "password=secret", start_with(PASSPHRASE), NOW))
    assert not (tmp_path / "new").exists()


def test_failed_creation_leaves_no_folder(template: Path, tmp_path: Path, engine: ZoneEngine) -> None:
    new = tmp_path / "new"
    with pytest.raises(KeyStoreLockedError):
        asyncio.run(create_host(new, engine.enrollment, BUS, start_with("wrong"), NOW, copied_keys=template / "keys"))
    assert not new.exists()


def test_failed_creation_keeps_existing_folder_empty(tmp_path: Path, engine: ZoneEngine) -> None:
    (tmp_path / "copied").mkdir()
    new = tmp_path / "new"
    new.mkdir()
    with pytest.raises(InvalidInputError, match="not a copy"):
        create(new, engine, copied_keys=tmp_path / "copied")
    assert list(new.iterdir()) == []


def test_link_in_copied_keys_is_refused(template: Path, tmp_path: Path, engine: ZoneEngine) -> None:
    shutil.copytree(template / "keys", tmp_path / "copied")
    (tmp_path / "copied" / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInputError, match="neither a file nor a folder"):
        create(tmp_path / "new", engine, copied_keys=tmp_path / "copied")


def test_missing_host_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="not the folder of a crypto host"):
        load_host(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"], ids=["empty", "no fields", "no text"])
def test_damaged_host_file_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "host.json").write_bytes(content)
    with pytest.raises(WorkspaceError, match="is damaged"):
        load_host(tmp_path)


def test_host_file_of_newer_version_is_reported(folder: Path) -> None:
    settings = load_host(folder)
    newer = msgspec.structs.replace(settings, enrollment=msgspec.structs.replace(settings.enrollment, version=2))
    (folder / "host.json").write_bytes(msgspec.json.encode(newer))
    with pytest.raises(WorkspaceError, match="newer version"):
        load_host(folder)
