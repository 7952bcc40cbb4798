"""kill -9 of engines and workers at random moments: nothing accepted is lost, nothing is signed twice.

``SEALYARD_CRASH_KILLS`` and ``SEALYARD_CRASH_SEED`` say how many and in which order; the seed is printed when
the test fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from random import Random

import pytest
from engine_process import APPROVER, CONFIG, REQUESTER
from killed_engine import LEAVE_SECONDS, MARK
from processes import still_there, with_in_environment
from storm import SIZES, Storm
from verdict import Verdict

from sealyard.client.embedded import EmbeddedClient
from sealyard.engine.founding import found_workspace
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.requests import DeviceRequest, TaskFilter
from sealyard.model.tasks import Task
from sealyard.model.workspace import KeyStore, Places

PASSPHRASE = "a passphrase for tests"
ADMINISTRATOR = "USER:administrator"
ENCRYPTION = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD
SIGNING = SigningAlgorithm.SHA256_ECDSA
"""Every ECDSA signature is another one: a signature made again shows."""

KILLS = int(os.environ.get("SEALYARD_CRASH_KILLS", "200"))
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261123"))


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_kills_lose_no_accepted_task_and_sign_none_twice(tmp_path: Path) -> None:
    places = Places(tmp_path / "workspace")
    random = Random(SEED)
    files = tuple(_file(tmp_path / f"firmware-{size}.bin", random.randbytes(size)) for size in SIZES)
    device_key = asyncio.run(_found(places, tmp_path / "device.key"))
    storm = Storm(places.root, PASSPHRASE, files, random)
    began = time.monotonic()
    try:
        storm.run(KILLS)
        storm.finish()
    finally:
        sys.stdout.write(f"SEALYARD_CRASH_SEED={SEED}: {_told(storm)} in {time.monotonic() - began:.0f} s\n")
        storm.end()
    verdict = Verdict(places, ENCRYPTION, SIGNING, device_key)
    asyncio.run(_judge(places, storm, verdict))
    sys.stdout.write(f"{verdict.made_again} signatures were lost and made again\n")
    assert storm.kills >= KILLS
    assert not still_there(with_in_environment(f"{MARK}={places.root}"), LEAVE_SECONDS)
    shutil.rmtree(tmp_path)


async def _found(places: Places, key: Path) -> bytes:
    """A workspace with three people and a device configuration; the bytes of its symmetric key."""
    await found_workspace(
        places, name="storm", administrator=ADMINISTRATOR, key_store=KeyStore.PASSPHRASE, passphrase=PASSPHRASE
    )
    client = await EmbeddedClient.open(places.root, ADMINISTRATOR, purpose="crash test", passphrase=PASSPHRASE)
    try:
        for subject in (REQUESTER, APPROVER):
            await client.add_subject(subject)
        await client.create_device(
            DeviceRequest(name=CONFIG, encryption=ENCRYPTION, signing=SIGNING, use=(REQUESTER,), approve=(APPROVER,))
        )
        await client.export_device_key(CONFIG, key, confirmed=True)
    finally:
        await client.close()
    return key.read_bytes()


async def _judge(places: Places, storm: Storm, verdict: Verdict) -> None:
    client = await EmbeddedClient.open_reader(places.root, ADMINISTRATOR)
    try:
        tasks = await _all_tasks(client)
        report = await client.verify_audit()
        verdict.check_accepted(tasks, storm.accepted, storm.wanted)
        verdict.check_signed_once(tasks)
        verdict.check_told_once(tasks)
        verdict.check_nothing_left(tasks)
        await verdict.check_results(client, tasks, storm.wanted)
        assert report.unsealed == 0
    finally:
        await client.close()


async def _all_tasks(client: EmbeddedClient) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    after = None
    while True:
        page = await client.tasks(TaskFilter(), after=after, limit=1000)
        tasks |= {each.id: each for each in page.tasks}
        if page.next is None:
            return tasks
        after = page.next


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _told(storm: Storm) -> str:
    return f"{storm.engine_kills} engines and {storm.worker_kills} workers killed over {len(storm.accepted)} tasks"
