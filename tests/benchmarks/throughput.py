"""Measure se-1 containers of 1 GiB, relative to `openssl enc`, `openssl dgst` and a signature of the same file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import statistics
import subprocess
import time
from datetime import datetime
from pathlib import Path

from sealyard.client.embedded import EmbeddedClient
from sealyard.crypto.ciphers import AesCipher
from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.events import TaskChanged
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import TaskStatus, Verdict
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import (
    DEVELOPER,
    DEVICE,
    OWNER,
    create_bench_workspace,
    open_engine,
    random_file,
    temporary_dir,
)

ROUNDS = 3
CHUNK = 2 << 20


def rows(size: int = 1 << 30) -> list[Row]:
    """Return medians of three rounds, alternating between openssl and packages."""
    with temporary_dir() as root:
        source = random_file(root / "firmware.bin", size)
        asyncio.run(create_bench_workspace(root / "workspace"))
        package_times, openssl_times, upload_times, stage_times = [], [], [], []
        for _ in range(ROUNDS):
            openssl_times.append(_measure_openssl(root, source))
            upload_seconds, phases = asyncio.run(_measure_package(root / "workspace", source))
            upload_times.append(upload_seconds)
            package_times.append(phases)
            stage_times.append(
                max(_measure_encryption(source), _measure_hash(source), _measure_write(source, root / "copy"))
            )
    openssl_seconds = statistics.median(openssl_times)
    encrypt_seconds = statistics.median(each["encrypt"] for each in package_times)
    check_seconds = statistics.median(each["check"] for each in package_times)
    slowest_stage = statistics.median(stage_times)
    return [
        Row(
            "encrypt and sign 1 GiB, relative to openssl enc + dgst + sign",
            encrypt_seconds / openssl_seconds,
            "at most 0.67",
        ),
        Row(
            "encrypt and sign 1 GiB, speed relative to the slowest single stage (encrypt, hash or write durably)",
            slowest_stage / encrypt_seconds,
            "at least 0.8",
        ),
        Row(
            "upload of 1 GiB into the workspace, relative to openssl",
            statistics.median(upload_times) / openssl_seconds,
            "reported",
        ),
        Row(
            "check of the container before the signature, relative to openssl",
            check_seconds / openssl_seconds,
            "reported",
        ),
    ]


def _measure_openssl(root: Path, source: Path) -> float:
    key = root / "ed25519.pem"
    if not key.exists():
        subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", key], check=True)
    encrypted, digest = root / "openssl.enc", root / "openssl.dgst"
    encrypted.unlink(missing_ok=True)
    os.sync()
    started_at = time.perf_counter()
    key_options = ["-K", "00" * 32, "-iv", "00" * 16]
    subprocess.run(["openssl", "enc", "-aes-256-cbc", *key_options, "-in", source, "-out", encrypted], check=True)
    subprocess.run(["openssl", "dgst", "-sha256", "-binary", "-out", digest, encrypted], check=True)
    files = ["-in", str(digest), "-out", str(root / "openssl.sig")]
    signing = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(key), *files]
    subprocess.run(signing, check=True)
    seconds = time.perf_counter() - started_at
    encrypted.unlink()
    return seconds


async def _measure_package(workspace: Path, source: Path) -> tuple[float, dict[str, float]]:
    """Return the seconds of the upload, and, by the task's events, of encryption with signature and of the check."""
    async with open_engine(workspace) as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        started_at = time.perf_counter()
        file = await developer.upload(source)
        upload_seconds = time.perf_counter() - started_at
        task = await developer.create_package(PackageRequest(config=DEVICE, firmware=(file,)))
        os.sync()
        running: list[datetime] = []
        recorder = asyncio.create_task(_record_running(developer, task.id, running))
        await owner.decide(task.id, Verdict.APPROVED)
        done = await developer.wait(task.id, within=600)
        recorder.cancel()
        assert done.status is TaskStatus.DONE, done.reason
        (workspace / "artifacts" / "results" / task.id).unlink()
        started, encrypted, checked = running
        return upload_seconds, {
            "encrypt": (encrypted - started + (done.history[-1].at - checked)).total_seconds(),
            "check": (checked - encrypted).total_seconds(),
        }


async def _record_running(client: EmbeddedClient, task_id: str, running: list[datetime]) -> None:
    """Record the times of a RUNNING task's events: start, recorded segment, recorded intent."""
    async for event in client.events():
        if isinstance(event, TaskChanged) and event.task_id == task_id and event.status is TaskStatus.RUNNING:
            running.append(event.at)  # noqa: PERF401


def _measure_encryption(source: Path) -> float:
    stream = AesCipher(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, bytes(32)).encryptor(bytes(16))
    data, out = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK + 16))
    started_at = time.perf_counter()
    for _ in range(source.stat().st_size // CHUNK):
        stream.update_into(data, out)
    return time.perf_counter() - started_at


def _measure_hash(source: Path) -> float:
    digest, data = hashlib.sha256(), bytearray(CHUNK)
    started_at = time.perf_counter()
    for _ in range(source.stat().st_size // CHUNK):
        digest.update(data)
    return time.perf_counter() - started_at


def _measure_write(source: Path, target: Path) -> float:
    """Measure a durable copy: the disk access of a container without other work."""
    os.sync()
    started_at = time.perf_counter()
    with source.open("rb") as source_file, target.open("wb") as target_file:
        shutil.copyfileobj(source_file, target_file, CHUNK)
        target_file.flush()
        os.fsync(target_file.fileno())
    seconds = time.perf_counter() - started_at
    target.unlink()
    return seconds
