"""Tests of a workspace with a crypto zone: engine, agents, workers, databases and object store are real."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.engine_handle import EngineHandle
from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.segments import decrypt_segment
from sealyard.crypto.signatures import verify
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.requests import EncryptionRequest, KeyGeneration, KeyImport, PackageRequest, SigningRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.support.object_store_fixtures import bucket, ministack
from tests.support.postgres_fixtures import postgres_server
from tests.support.processes import suspend
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, wait_until
from tests.support.zone_fixtures import DEVICE_KEY, zone, zone_template
from tests.support.zone_harness import ZoneHarness

__all__ = ["bucket", "ministack", "postgres_server", "zone", "zone_template"]

ENCRYPTION = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD
FIRMWARE = bytes(range(256)) * 400 + b"end"
LARGE = 24 << 20
"""Size of a file whose package takes long enough to interrupt it."""


@pytest.fixture
def device_key(zone_template: ZoneHarness) -> bytes:
    return (zone_template.root / DEVICE_KEY).read_bytes()


@asynccontextmanager
async def run_zone(zone: ZoneHarness) -> AsyncIterator[EngineHandle]:
    for host in zone.hosts:
        await host.start()
    async with zone.run_engine() as engine:
        yield engine


def write_firmware(path: Path, size: int = 0) -> Path:
    """Write a file of ``size`` bytes, by default the firmware."""
    path.write_bytes(hashlib.shake_128(b"firmware").digest(size) if size else FIRMWARE)
    return path


async def create_package(engine: EngineHandle, path: Path, size: int = 0) -> Task:
    """Request and approve a package with a file of ``size`` bytes, by default of the firmware."""
    dev = engine.client(DEV)
    file = await dev.upload(write_firmware(path, size))
    task = await dev.create_package(PackageRequest(config=GATEWAY, firmware=(file,)))
    return await engine.client(OWNER).decide(task.id, Verdict.APPROVED, digest=task.approval_digest)


def decrypt(chunks: list[bytes], device_key: bytes) -> bytes:
    content = b"".join(chunks)
    plaintext = bytearray()
    cipher = AesCipher(ENCRYPTION, device_key)
    decrypt_segment(io.BytesIO(content), len(content), cipher, plaintext.extend, [], lambda _: None)
    return bytes(plaintext)


def list_key_files(folder: Path) -> set[str]:
    """Return the names of the local keys in a folder of keys."""
    return {path.name for path in folder.rglob("*") if path.is_dir()}


def check_no_leftovers(zone: ZoneHarness, *tasks: Task) -> None:
    """Check that nothing is left of finished tasks, except for the results of ``tasks``."""
    assert zone.list_objects() == sorted(f"results/{task.id}/{task.fencing_token}" for task in tasks)
    for host in zone.hosts:
        assert not [path for path in host.paths.artifacts.rglob("*") if path.is_file()]
    for table in ("bus.instruction", "bus.progress"):
        assert zone.bus.execute(f"SELECT * FROM {table} WHERE task <> ''") == [], table


async def wait_for_status(client: EmbeddedClient, task_id: str, status: TaskStatus) -> Task:
    async def find() -> Task | None:
        task = await client.task(task_id)
        assert task.status is status or not task.status.is_final, task.reason
        return task if task.status is status else None

    task: Task = await wait_until(find, f"task {task_id} is {status}")
    return task


async def has_instruction(zone: ZoneHarness, task: Task) -> bool:
    return bool(await asyncio.to_thread(zone.bus.execute, f"SELECT n FROM bus.instruction WHERE task = '{task.id}'"))


async def check_package(client: EmbeddedClient, task: Task, firmware: Path, device_key: bytes) -> None:
    """Download the result of the task, and check it with the certificate and the key of the device."""
    container = firmware.with_suffix(".se1")
    container.write_bytes(b"".join([chunk async for chunk in client.download(task.id)]))
    certificate = await client.certificate(task.id)
    cipher = AesCipher(ENCRYPTION, device_key)
    with container.open("rb") as file:
        report, digests = SE1Format().verify_digests(file, certificate.encode(), cipher, [firmware.stat().st_size])
    assert task.result is not None
    assert (report.sha256, report.size) == (task.result.sha256, task.result.size)
    assert digests == (hashlib.sha256(firmware.read_bytes()).hexdigest(),)


async def test_crypto_host_executes_tasks_of_all_kinds(zone: ZoneHarness, device_key: bytes) -> None:
    async with run_zone(zone) as engine:
        dev = engine.client(DEV)
        firmware = zone.root / "firmware.bin"
        package = await dev.wait((await create_package(engine, firmware)).id)
        assert package.status is TaskStatus.DONE, package.reason
        await check_package(dev, package, firmware, device_key)

        request = EncryptionRequest(config=GATEWAY, file=await dev.upload(firmware))
        encrypted = await dev.wait((await dev.create_encryption(request)).id)
        assert encrypted.status is TaskStatus.DONE, encrypted.reason
        assert decrypt([chunk async for chunk in dev.download(encrypted.id)], device_key) == FIRMWARE

        task = await dev.create_signing(SigningRequest(config=GATEWAY, message=b"hello"))
        await engine.client(OWNER).decide(task.id, Verdict.APPROVED, digest=task.approval_digest)
        signed = await dev.wait(task.id)
        assert signed.result is not None, signed.reason
        signature = base64.b64decode(signed.result.signature or "")
        public_key = load_certificate((await dev.certificate(task.id)).encode()).public_key
        assert verify(public_key, SigningAlgorithm.ED25519, b"hello", signature, prehashed=False)
        await engine.client(ADMIN).verify_audit()
    check_no_leftovers(zone, package, encrypted)


async def test_cancelled_job_leaves_nothing(zone: ZoneHarness) -> None:
    async with run_zone(zone) as engine:
        dev = engine.client(DEV)
        task = await create_package(engine, zone.root / "firmware.bin", LARGE)
        await wait_for_status(dev, task.id, TaskStatus.RUNNING)
        await dev.cancel(task.id)
        assert (await dev.wait(task.id)).status is TaskStatus.CANCELLED
        await engine.wait_idle()
    check_no_leftovers(zone)


async def test_keys_are_in_zone_only(zone: ZoneHarness, device_key: bytes) -> None:
    async with run_zone(zone) as engine:
        admin = engine.client(ADMIN)
        raw = zone.root / "raw.key"
        raw.write_bytes(b"k" * 32)
        await admin.import_key(KeyImport(uri="local:bought", path=str(raw), kind=KeyType.AES_256))
        await admin.generate_key(KeyGeneration(uri="local:made", kind=KeyType.ED25519))
        rotated = await admin.rotate_key("local:made")
        assert len(rotated.versions) == 2
        exported = zone.root / "exported.key"
        await admin.export_device_key(GATEWAY, exported, confirmed=True)
        assert exported.read_bytes() == device_key
    (host,) = zone.hosts
    assert list_key_files(host.paths.keys) > {"bought", "made"}
    assert list_key_files(zone.paths.keys) == {"audit"}
    raw.unlink()
    exported.unlink()
    for content in (b"k" * 32, device_key):
        assert not [path for path in zone.root.rglob("*") if path.is_file() and content in path.read_bytes()]


async def test_second_host_continues_after_kill_of_first(zone: ZoneHarness, device_key: bytes) -> None:
    async with run_zone(zone) as engine:
        dev = engine.client(DEV)
        firmware = zone.root / "firmware.bin"
        task = await create_package(engine, firmware, LARGE)
        running = await wait_for_status(dev, task.id, TaskStatus.RUNNING)
        zone.hosts[0].kill()
        await (await zone.add_host()).start()
        done = await dev.wait(task.id)
        assert done.status is TaskStatus.DONE, done.reason
        assert done.fencing_token > running.fencing_token
        await check_package(dev, done, firmware, device_key)
    check_no_leftovers(zone, done)


async def test_shutdown_of_host_counts_no_lease_loss(zone: ZoneHarness, device_key: bytes) -> None:
    (host,) = zone.hosts
    async with run_zone(zone) as engine:
        dev = engine.client(DEV)
        firmware = zone.root / "firmware.bin"
        task = await create_package(engine, firmware, LARGE)
        await wait_until(lambda: has_instruction(zone, task), "the host is instructed to start the job")
        for worker in host.workers:
            suspend(worker)
        assert await host.stop_at_once() == 0
        await host.start()
        done = await dev.wait(task.id)
        assert (done.status, done.fencing_token, done.lease_losses) == (TaskStatus.DONE, 2, 0), done.reason
        await check_package(dev, done, firmware, device_key)
    check_no_leftovers(zone, done)


async def test_restarted_engine_adopts_running_job(zone: ZoneHarness, device_key: bytes) -> None:
    firmware = zone.root / "firmware.bin"
    (host,) = zone.hosts
    await host.start()
    async with zone.run_engine() as engine:
        task = await create_package(engine, firmware, LARGE)
        running = await wait_for_status(engine.client(DEV), task.id, TaskStatus.RUNNING)
        # An engine that closes earlier releases the claim of the host, and the next one starts the task again.
        await wait_until(lambda: has_instruction(zone, task), "the host is instructed to start the job")
    # The package needs the engine before it can be signed.
    async with zone.run_engine() as engine:
        dev = engine.client(DEV)
        done = await dev.wait(task.id)
        assert done.status is TaskStatus.DONE, done.reason
        assert done.fencing_token == running.fencing_token
        await check_package(dev, done, firmware, device_key)
    check_no_leftovers(zone, done)
