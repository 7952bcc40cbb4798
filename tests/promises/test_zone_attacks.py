"""Attacks on a workspace with a crypto zone. Each test is named after its attack.

The attacker has full access to the bus database (z3, z4, z8), or has taken over an agent (z5, z6). Engine, agent and
workers are real.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path

import httpx
from msgspec import UNSET, structs
from msgspec.json import decode

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.jobs.zone.codec import decode_agent_report
from sealyard.model.algorithms import KeyType
from sealyard.model.grants import ResultContent
from sealyard.model.requests import EncryptionRequest, KeyImport, SigningRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.worker_messages import JobFinished, SigningPermissionRequested
from sealyard.model.zone_messages import (
    AgentReport,
    ForwardOrder,
    GrantsRequested,
    IssueGrants,
    JobAbandoned,
    SignedReport,
    WorkerReport,
)
from tests.support.backend_access import wait_until
from tests.support.breached_agent import BreachedAgent
from tests.support.bus_archive import BusArchive
from tests.support.object_store_fixtures import bucket, ministack
from tests.support.postgres_fixtures import postgres_server
from tests.support.scripted_host import ZoneKeys
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER
from tests.support.worker_state import read_intents
from tests.support.zone_fixtures import zone, zone_template
from tests.support.zone_harness import ZoneHarness

__all__ = ["bucket", "ministack", "postgres_server", "zone", "zone_template"]


async def create_signing(engine: EngineHandle, message: bytes = b"hello") -> Task:
    """Request and approve a signature."""
    task = await engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=message))
    return await engine.client(OWNER).decide(task.id, Verdict.APPROVED, digest=task.approval_digest)


async def finish(engine: EngineHandle, task: Task) -> Task:
    done = await engine.client(DEV).wait(task.id)
    assert done.status is TaskStatus.DONE, done.reason
    return done


async def create_encryption(engine: EngineHandle, path: Path, content: bytes) -> Task:
    path.write_bytes(content)
    dev = engine.client(DEV)
    return await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=await dev.upload(path)))


async def test_z3_instructions_are_sent_again(zone: ZoneHarness) -> None:
    """To the agent that executed the job, and to another one, which has not seen it."""
    archive = BusArchive(zone.bus, zone.workspace_id)
    first, second = zone.hosts[0], await zone.add_host()
    await first.start()
    async with zone.run_engine() as engine:
        done = await finish(engine, await create_signing(engine))
        recorded = archive.instructions
        assert recorded
        await second.start()
        report_count = len(archive.reports)
        for host in (first, second):
            for instruction in recorded:
                archive.send_again(instruction, host.name)
        await wait_until(lambda: len(archive.reports) > report_count)
        await first.stop()
        await finish(engine, await create_signing(engine, b"barrier"))
        assert await engine.client(DEV).task(done.id) == done
    tasks = [intent["task"] for intent in read_intents(first.folder) + read_intents(second.folder)]
    assert len(tasks) == len(set(tasks)) == 2
    answers = [decode_agent_report(body) for body in archive.reports[report_count:]]
    assert [type(each) for each in answers if _find_task_id(each) == done.id] == [JobAbandoned]


def _find_task_id(report: AgentReport) -> str | None:
    """Return the task of a report of an agent or of its worker."""
    message = decode(report.report.body, type=WorkerReport).message if isinstance(report, SignedReport) else report
    return getattr(message, "task_id", None)


async def test_z4_forged_reports(zone: ZoneHarness) -> None:
    """The attacker plays an agent, and signs the reports of the worker with a key of its own."""
    async with zone.run_engine() as engine:
        async with BreachedAgent(zone.bus, zone.workspace_id) as agent:
            task = await create_signing(engine)
            await agent.claim(task)
            digest = hashlib.sha256(b"other").hexdigest()
            await agent.forge(SigningPermissionRequested(task_id=task.id, fencing_token=1, sha256=digest))
            await agent.forge(JobFinished(task_id=task.id, fencing_token=1, signature="AAAA"))
            await agent.wait_until_handled()
            running = await engine.client(DEV).task(task.id)
            assert (running.status, running.intent) == (TaskStatus.RUNNING, None)
            assert not [each for each in await agent.list_instructions() if isinstance(each, ForwardOrder)]
        await zone.hosts[0].start()
        done = await finish(engine, task)
        assert done.fencing_token > running.fencing_token
        assert done.intent is not None
        assert done.intent.sha256 != digest


async def test_z5_grants_for_foreign_objects(zone: ZoneHarness) -> None:
    """A breached agent gets grants for the inputs of its job, and for the result of its own attempt."""
    async with zone.run_engine() as engine, BreachedAgent(zone.bus, zone.workspace_id) as agent:
        own = await create_encryption(engine, zone.root / "own", b"own")
        start = await agent.claim(own)
        foreign = await create_encryption(engine, zone.root / "foreign", b"foreign")
        (own_input, foreign_input) = own.inputs[0].sha256, foreign.inputs[0].sha256
        assert [grant.sha256 for grant in start.inputs] == [own_input]
        content = ResultContent(sha256=hashlib.sha256(b"result").hexdigest(), size=6)
        for request in (
            GrantsRequested(task_id=own.id, fencing_token=1, inputs=(foreign_input,)),
            GrantsRequested(task_id=own.id, fencing_token=1, inputs=(own_input, foreign_input)),
            GrantsRequested(task_id=foreign.id, fencing_token=1, inputs=(foreign_input,), result=content),
            GrantsRequested(task_id=own.id, fencing_token=2, result=content),
        ):
            await agent.send(request)
        await agent.wait_until_handled()
        granted = [grant.sha256 for answer in await agent.list_grants() for grant in answer.inputs]
        assert foreign_input not in granted
        assert not [answer for answer in await agent.list_grants() if answer.result is not None]

        await agent.send(GrantsRequested(task_id=own.id, fencing_token=1, result=content))
        result = (await agent.receive(IssueGrants)).result
        assert result is not None
        assert all(f"/results/{own.id}/1?" in grant.url for grant in result.grants)


async def test_z6_other_result_is_uploaded(zone: ZoneHarness) -> None:
    """The worker reports the digest of its result, and the agent uploads other bytes of the same size."""
    keys = ZoneKeys()
    metadata = load_metadata(zone.paths)
    assert metadata.zone is not UNSET
    save_metadata(zone.paths, structs.replace(metadata, zone=structs.replace(metadata.zone, keys=keys.public)))
    right, wrong = b"the result", b"the attack"
    async with zone.run_engine() as engine, BreachedAgent(zone.bus, zone.workspace_id) as agent:
        task = await create_encryption(engine, zone.root / "firmware", b"firmware")
        await agent.claim(task)
        content = ResultContent(sha256=hashlib.sha256(wrong).hexdigest(), size=len(wrong))
        await agent.send(GrantsRequested(task_id=task.id, fencing_token=1, result=content))
        result = (await agent.receive(IssueGrants)).result
        assert result is not None
        (grant,) = result.grants
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.put(grant.url, content=wrong, headers=dict(grant.headers))
        assert response.is_success, response.text
        sha256 = hashlib.sha256(right).hexdigest()
        report = JobFinished(task_id=task.id, fencing_token=1, sha256=sha256, size=len(right))
        await agent.forge(report, key=keys.report_key.private_bytes_raw())
        failed = await engine.client(DEV).wait(task.id)
        assert failed.status is TaskStatus.FAILED
        assert failed.result is None


async def test_z8_keys_are_read_from_bus_database(zone: ZoneHarness) -> None:
    """Neither an imported nor an exported key is in what passes, in any encoding of JSON."""
    archive = BusArchive(zone.bus, zone.workspace_id)
    await zone.hosts[0].start()
    raw, exported = zone.root / "raw.key", zone.root / "exported.key"
    raw.write_bytes(bytes(range(100, 132)))
    async with zone.run_engine() as engine:
        admin = engine.client(ADMIN)
        await admin.import_key(KeyImport(uri="local:bought", path=str(raw), kind=KeyType.AES_256))
        await admin.export_device_key(GATEWAY, exported, confirmed=True)
    layers = [each.body for each in archive.instructions] + archive.reports
    assert layers
    while layers:
        body = layers.pop()
        for key in (raw.read_bytes(), exported.read_bytes()):
            assert not [text for text in (key, key.hex().encode(), base64.b64encode(key)) if text in body]
        layers += [decoded for text in re.findall(rb'"([A-Za-z0-9+/=]{40,})"', body) if (decoded := _decode(text))]


def _decode(text: bytes) -> bytes:
    """Return the bytes that a text of JSON encodes, or none if it is no Base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
