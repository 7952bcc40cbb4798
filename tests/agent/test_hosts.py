"""Test several hosts of a zone, key commands, and how an agent ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealyard.agent.service import AgentOptions
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import WorkspaceError, WorkspaceLockedError
from sealyard.model.key_commands import DescribeKey, GenerateKey
from sealyard.model.keys import KeyInfo
from sealyard.model.worker_messages import BuildSecretCreated, JobFinished, KeyResponse
from sealyard.model.zone_messages import Drain, JobAbandoned
from tests.support.crypto_host import EnrolledHost, RunningHost, copy_host, running_host
from tests.support.limits import TIMEOUT
from tests.support.scripted_engine import ScriptedEngine
from tests.support.worker_harness import WorkerWorkspace

GENERATE = GenerateKey(
    uri="local:new", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="new", created_by="USER:admin"
)


async def generate_key(engine: ScriptedEngine) -> KeyInfo:
    response = await engine.ask(GENERATE, changes_keys=True)
    assert isinstance(response, KeyResponse), response
    assert response.key is not None
    return response.key


async def test_second_host_uses_a_key_generated_on_the_first(
    engine: ScriptedEngine, jobs: WorkerWorkspace, tmp_path: Path, enrolled_host: EnrolledHost
) -> None:
    async with running_host(copy_host(enrolled_host, tmp_path / "first"), engine.bus.agent):
        jobs.keys["new"] = await generate_key(engine)
    async with running_host(copy_host(enrolled_host, tmp_path / "second"), engine.bus.agent):
        report = await engine.run(jobs.signing(b"message", key="new"))
    assert isinstance(report, JobFinished), report
    keys = engine.bus.execute("SELECT path FROM bus.key_file")
    assert ("local/new/key.json",) in keys
    assert not [path for (path,) in keys if "keyring" in path]


async def test_key_command_reports_its_error_to_the_engine(engine: ScriptedEngine, host: RunningHost) -> None:
    response = await engine.ask(DescribeKey(uri="local:missing"))
    assert isinstance(response, KeyResponse)
    assert response.error is not None


async def test_drained_host_finishes_its_jobs_and_exits(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    job = jobs.package(b"firmware")
    name = await engine.claim(job)
    engine.start(name, job)
    _, created = await engine.receive(BuildSecretCreated)
    engine.send(name, Drain())
    async with asyncio.timeout(TIMEOUT):
        while engine.execute("SELECT draining FROM bus.host", {}) != [(True,)]:
            await asyncio.sleep(0.05)
    await engine.defer(jobs.package(b"next"))
    engine.answer(name, created)
    assert isinstance(await engine.follow(name, job), JobFinished)
    await asyncio.wait_for(host.task, TIMEOUT)
    assert engine.execute("SELECT status::text FROM procrastinate_jobs ORDER BY id DESC LIMIT 1", {}) == [("todo",)]


@pytest.mark.parametrize("second_signal", [True, False])
async def test_stopped_host_abandons_jobs_that_take_too_long(
    engine: ScriptedEngine, jobs: WorkerWorkspace, tmp_path: Path, enrolled_host: EnrolledHost, second_signal: bool
) -> None:
    options = AgentOptions(drain_seconds=TIMEOUT * 10 if second_signal else 0.1)
    async with running_host(copy_host(enrolled_host, tmp_path / "host"), engine.bus.agent, options) as host:
        job = jobs.package(b"firmware")
        name = await engine.claim(job)
        engine.start(name, job)
        await engine.receive(BuildSecretCreated)
        host.stopping.set()
        async with asyncio.timeout(TIMEOUT):
            while second_signal and host.stopping.is_set():
                await asyncio.sleep(0.01)
            host.stopping.set()
            await host.task
        _, report = await engine.receive(JobAbandoned)
        assert (report.task_id, report.is_interrupted) == (job.task.id, True)


async def test_second_agent_in_one_folder_is_refused(engine: ScriptedEngine, host: RunningHost) -> None:
    with pytest.raises(WorkspaceLockedError):
        async with running_host(host.paths.root, engine.bus.agent):
            raise AssertionError


async def test_database_of_another_zone_is_refused(
    engine: ScriptedEngine, tmp_path: Path, enrolled_host: EnrolledHost
) -> None:
    engine.bus.execute("UPDATE bus.zone SET name = 'another'")
    async with running_host(copy_host(enrolled_host, tmp_path / "host"), engine.bus.agent) as host:
        with pytest.raises(WorkspaceError, match="another zone"):
            await asyncio.wait_for(host.task, TIMEOUT)
