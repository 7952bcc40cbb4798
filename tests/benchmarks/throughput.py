"""1 GiB through se-1 against `openssl enc` + `openssl dgst` + a signature over the same file, in the same run."""

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
from tests.benchmarks.workspaces import DEVELOPER, DEVICE, OWNER, folder, found, opened, random_file

COMMAND = "throughput"
ROUNDS = 3
CHUNK = 2 << 20


def rows(size: int = 1 << 30) -> list[Row]:
    """Median of three rounds, the two sides in turn."""
    with folder() as root:
        source = random_file(root / "firmware.bin", size)
        asyncio.run(found(root / "workspace"))
        ours, theirs, ingests, stages = [], [], [], []
        for _ in range(ROUNDS):
            theirs.append(_openssl(root, source))
            ingest, work = asyncio.run(_package(root / "workspace", source))
            ingests.append(ingest)
            ours.append(work)
            stages.append(max(_bare_encryption(source), _bare_hash(source), _bare_write(source, root / "copy")))
    openssl, sealed = statistics.median(theirs), statistics.median(each["seal"] for each in ours)
    check = statistics.median(each["check"] for each in ours)
    slowest = statistics.median(stages)
    return [
        Row("1 GiB sealed and signed, of the time of openssl enc + dgst + sign", sealed / openssl, "at most 0.67"),
        Row(
            "1 GiB sealed and signed, of the slowest bare stage (encrypt, hash, or write durably)",
            slowest / sealed,
            "at least 0.8",
        ),
        Row("its ingest, of the openssl time", statistics.median(ingests) / openssl, "reported"),
        Row("its self-check, of the openssl time", check / openssl, "reported"),
    ]


def _openssl(root: Path, source: Path) -> float:
    key = root / "ed25519.pem"
    if not key.exists():
        subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", key], check=True)
    encrypted, digest = root / "openssl.enc", root / "openssl.dgst"
    encrypted.unlink(missing_ok=True)
    os.sync()
    begun = time.perf_counter()
    secret = ["-K", "00" * 32, "-iv", "00" * 16]
    subprocess.run(["openssl", "enc", "-aes-256-cbc", *secret, "-in", source, "-out", encrypted], check=True)
    subprocess.run(["openssl", "dgst", "-sha256", "-binary", "-out", digest, encrypted], check=True)
    files = ["-in", str(digest), "-out", str(root / "openssl.sig")]
    signing = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(key), *files]
    subprocess.run(signing, check=True)
    took = time.perf_counter() - begun
    encrypted.unlink()
    return took


async def _package(workspace: Path, source: Path) -> tuple[float, dict[str, float]]:
    """Seconds of the ingest, and of encrypting and signing and of the check between them, by the task's events."""
    async with opened(workspace) as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        begun = time.perf_counter()
        file = await developer.upload(source)
        ingest = time.perf_counter() - begun
        task = await developer.create_package(PackageRequest(config=DEVICE, firmware=(file,)))
        os.sync()
        running: list[datetime] = []
        following = asyncio.create_task(_follow(developer, task.id, running))
        await owner.decide(task.id, Verdict.APPROVED)
        done = await developer.wait(task.id, within=600)
        following.cancel()
        assert done.status is TaskStatus.DONE, done.reason
        (workspace / "artifacts" / "results" / task.id).unlink()
        started, encrypted, checked = running
        return ingest, {
            "seal": (encrypted - started + (done.history[-1].at - checked)).total_seconds(),
            "check": (checked - encrypted).total_seconds(),
        }


async def _follow(client: EmbeddedClient, task_id: str, running: list[datetime]) -> None:
    """Times of the task's changes while it is RUNNING: its start, its segment recorded, its intent recorded."""
    async for event in client.events():
        if isinstance(event, TaskChanged) and event.task_id == task_id and event.status is TaskStatus.RUNNING:
            running.append(event.at)  # noqa: PERF401


def _bare_encryption(source: Path) -> float:
    stream = AesCipher(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, bytes(32)).encryptor(bytes(16))
    data, out = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK + 16))
    begun = time.perf_counter()
    for _ in range(source.stat().st_size // CHUNK):
        stream.update_into(data, out)
    return time.perf_counter() - begun


def _bare_hash(source: Path) -> float:
    digest, data = hashlib.sha256(), bytearray(CHUNK)
    begun = time.perf_counter()
    for _ in range(source.stat().st_size // CHUNK):
        digest.update(data)
    return time.perf_counter() - begun


def _bare_write(source: Path, target: Path) -> float:
    """Copying it durably: what a container costs the disk, with nothing else done."""
    os.sync()
    begun = time.perf_counter()
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, CHUNK)
        writing.flush()
        os.fsync(writing.fileno())
    took = time.perf_counter() - begun
    target.unlink()
    return took
