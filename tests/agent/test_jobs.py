"""Test the course of jobs on a crypto host, with real workers, PostgreSQL and an object store."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sealyard.agent import host_jobs, service
from sealyard.agent import job as zone_job
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    Job,
    JobFinished,
    JobStopped,
    RunJob,
    SigningPermissionRequested,
)
from sealyard.model.zone_messages import AbortJob, GrantsRequested, JobAbandoned, JobClaimed, StartJob
from sealyard.storage.result_id import ResultId
from tests.support.bus_database import BUS_AGENT
from tests.support.crypto_host import EnrolledHost, RunningHost, copy_host, running_host
from tests.support.limits import TIMEOUT
from tests.support.scripted_engine import ScriptedEngine
from tests.support.worker_harness import WorkerWorkspace

FIRMWARE = b"firmware " * 10_000


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.02)


def with_token(job: Job, fencing_token: int) -> Job:
    return msgspec.structs.replace(job, task=msgspec.structs.replace(job.task, fencing_token=fencing_token))


def files_of(host: RunningHost) -> list[str]:
    return [path.name for path in host.paths.artifacts.rglob("*") if path.is_file()]


async def test_signing_job_needs_no_upload_and_package_job_uploads_its_result(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    report = await engine.run(jobs.signing(b"message"))
    assert isinstance(report, JobFinished), report
    assert report.signature
    assert not [each for _, each in engine.reports if isinstance(each, GrantsRequested)]

    job = jobs.package(FIRMWARE)
    report = await engine.run(job)
    assert isinstance(report, JobFinished), report
    content = jobs.artifacts.open_result(ResultId(job.task.id, 1)).read()
    assert len(content) == report.size
    await wait_until(lambda: not files_of(host))
    assert job.task.id in [task for (task,) in engine.execute("SELECT task FROM bus.intent", {})]


async def test_jobs_share_an_input_until_the_last_ends(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    first, second = jobs.encryption(FIRMWARE), jobs.encryption(FIRMWARE)
    hosts = [await engine.claim(each) for each in (first, second)]
    engine.start(hosts[0], first)
    engine.start(hosts[1], second)
    for each, name in zip((first, second), hosts, strict=True):
        assert isinstance(await engine.follow(name, each), JobFinished)
    await wait_until(lambda: not files_of(host))


async def test_refused_grants_are_renewed(engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost) -> None:
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    grant = engine.grant(job.task.inputs[0].sha256)
    url = grant.grant.url.replace("Signature=", "Signature=0")
    refused = msgspec.structs.replace(grant, grant=msgspec.structs.replace(grant.grant, url=url))
    engine.start(name, job, inputs=(refused,))
    assert isinstance(await engine.follow(name, job), JobFinished)
    requests = [each for _, each in engine.reports if isinstance(each, GrantsRequested)]
    assert [each.inputs for each in requests] == [(grant.sha256,), ()]


async def test_unusable_store_abandons_the_job(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    """The engine schedules the task again when it gets this code."""
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    grant = engine.grant(job.task.inputs[0].sha256)
    unsafe = msgspec.structs.replace(grant.grant, url="http://store.example/input")
    engine.start(name, job, inputs=(msgspec.structs.replace(grant, grant=unsafe),))
    _, report = await engine.receive(JobAbandoned)
    assert (report.task_id, report.error.code, report.is_interrupted) == (job.task.id, "artifact-store", False)


async def test_unclaimed_job_and_order_of_another_task_are_abandoned(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    job, other = jobs.encryption(FIRMWARE), jobs.encryption(b"other")
    name = await engine.claim(job)
    unclaimed = jobs.signing(b"unclaimed")
    engine.start(name, unclaimed)
    _, report = await engine.receive(JobAbandoned)
    assert (report.task_id, report.fencing_token) == (unclaimed.task.id, unclaimed.task.fencing_token)
    assert report.is_interrupted

    await engine.claim(other)
    engine.start(name, other, task_id=job.task.id)
    _, report = await engine.receive(JobAbandoned)
    assert (report.task_id, report.error.code, report.is_interrupted) == (job.task.id, "integrity", False)


async def test_abort_releases_a_claim_without_a_report_and_stops_a_running_job(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    engine.send(name, AbortJob(task_id=job.task.id, fencing_token=7))
    engine.send(name, AbortJob(task_id=job.task.id, fencing_token=1))
    await wait_until(lambda: host.agent._pool.running_jobs == 0)
    assert isinstance(await engine.run(with_token(job, 2)), JobFinished)
    assert not [each for _, each in engine.reports if isinstance(each, JobAbandoned)]

    running = jobs.package(b"another " + FIRMWARE)
    name = await engine.claim(running)
    engine.start(name, running)
    await engine.receive(BuildSecretCreated, lambda each: each.task_id == running.task.id)
    engine.send(name, AbortJob(task_id=running.task.id, fencing_token=1))
    _, report = await engine.receive(JobStopped)
    assert report.task_id == running.task.id
    await wait_until(lambda: not files_of(host))


async def test_forged_and_repeated_instructions_start_nothing(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    job = jobs.encryption(FIRMWARE)
    name = await engine.claim(job)
    start = StartJob(task_id=job.task.id, fencing_token=1, inputs=(), order=engine.sign(RunJob(job=job)))
    engine.send(name, start, key=b"x" * 32)
    engine.send(name, start, signed_host="another-host")
    engine.send(name, msgspec.structs.replace(start, fencing_token=2))
    engine.send(name, msgspec.structs.replace(start, task_id="another-task"))
    engine.start(name, job)
    engine.start(name, job)
    assert isinstance(await engine.follow(name, job), JobFinished)
    await wait_until(lambda: host.agent._jobs.count == 0)
    engine.start(name, job)
    assert isinstance(await engine.run(jobs.encryption(b"another")), JobFinished)
    finished = [each for _, each in engine.reports if isinstance(each, JobFinished)]
    assert len(finished) == 2


async def test_killed_worker_abandons_its_job(engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost) -> None:
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    engine.start(name, job)
    await engine.receive(BuildSecretCreated)
    for pid in host.worker_pids:
        os.kill(pid, signal.SIGKILL)
    _, report = await engine.receive(JobAbandoned)
    assert (report.task_id, report.error.code, report.is_interrupted) == (job.task.id, "worker", False)
    assert isinstance(await engine.run(with_token(job, 2)), JobFinished)


async def test_other_intent_of_the_zone_stops_the_job(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost, tmp_path: Path, enrolled_host: EnrolledHost
) -> None:
    job = jobs.package(FIRMWARE)
    engine.bus.execute(
        "INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host) VALUES ('w1', %s, 'other', 1, 'other')",
        (job.task.id,),
    )
    report = await engine.run(job)
    assert isinstance(report, JobAbandoned)
    assert report.error.code == "integrity"
    await wait_until(lambda: host.agent._pool.running_jobs == 0)


async def test_newer_claim_replaces_an_older_job(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    engine.start(name, job)
    await engine.receive(BuildSecretCreated)
    newer = with_token(job, 2)
    await engine.claim(newer)
    await engine.defer(job)
    assert isinstance(await engine.run(jobs.encryption(b"next")), JobFinished)
    engine.start(name, newer)
    assert isinstance(await engine.follow(name, newer), JobFinished)
    claims = [each.number for _, each in engine.reports if isinstance(each, JobClaimed) and each.task_id == job.task.id]
    assert claims == [1, 2]


async def test_job_survives_cut_connections(engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost) -> None:
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    engine.start(name, job)
    _, created = await engine.receive(BuildSecretCreated)
    assert engine.bus.disconnect(BUS_AGENT) > 2
    engine.forward(name, BuildSecretRecorded(task_id=created.task_id, fencing_token=1))
    assert isinstance(await engine.follow(name, job), JobFinished)
    assert isinstance(await engine.run(jobs.package(b"next")), JobFinished)


async def test_job_survives_a_restart_of_the_bus(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost
) -> None:
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    engine.start(name, job)
    _, requested = await engine.receive(BuildSecretCreated)
    engine.bus.server.stop()
    engine.bus.server.start()
    engine.answer(name, requested)
    assert isinstance(await engine.follow(name, job), JobFinished)


async def test_lost_bus_stops_jobs_and_registers_again(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOST_SECONDS", 1.0)
    monkeypatch.setattr(service, "HEARTBEAT_INTERVAL", 0.2)
    job = jobs.package(FIRMWARE)
    name = await engine.claim(job)
    engine.start(name, job)
    await engine.receive(BuildSecretCreated)
    engine.bus.server.stop()
    await wait_until(lambda: host.agent._jobs.count == 0)
    engine.bus.server.start()
    await wait_until(lambda: len(engine.execute("SELECT name FROM bus.host", {})) == 2)
    assert isinstance(await engine.run(with_token(job, 2)), JobFinished)
    assert name not in {each_name for each_name, each in engine.reports if isinstance(each, JobFinished)}
    assert not [each for _, each in engine.reports if isinstance(each, JobStopped | JobAbandoned)]


async def test_unstarted_claim_is_released(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_job, "START_SECONDS", 0.1)
    await engine.claim(jobs.package(FIRMWARE))
    await wait_until(lambda: host.agent._pool.running_jobs == 0)


async def test_large_jobs_wait_for_a_slot(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_jobs, "LARGE_JOB_BYTES", 100)
    first, second = jobs.encryption(b"first"), jobs.encryption(b"second")
    name = await engine.claim(first, size=1 << 30)
    await engine.defer(second, size=1 << 30)
    engine.start(name, first)
    assert isinstance(await engine.follow(name, first), JobFinished)
    name, _ = await engine.receive(JobClaimed)
    engine.start(name, second)
    assert isinstance(await engine.follow(name, second), JobFinished)


async def test_hosts_do_not_sign_different_bytes(
    engine: ScriptedEngine, jobs: WorkerWorkspace, host: RunningHost, tmp_path: Path, enrolled_host: EnrolledHost
) -> None:
    """The second attempt builds another container, because its build secret is another one."""
    job = jobs.package(FIRMWARE)
    first_name = await engine.claim(job)
    engine.start(first_name, job)
    async with running_host(copy_host(enrolled_host, tmp_path / "second"), engine.bus.agent):
        _, created = await engine.receive(BuildSecretCreated)
        engine.answer(first_name, created)
        _, requested = await engine.receive(SigningPermissionRequested)
        engine.answer(first_name, requested)
        await engine.receive(GrantsRequested)
        await host.close()
        report = await engine.run(with_token(job, 2))
    assert isinstance(report, JobAbandoned), report
    assert report.error.code == "integrity"
