"""The course of jobs through the bus database, with an engine and a scripted host."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.zone import bus as bus_module
from sealyard.jobs.zone.hosts import MAX_SMALL_JOBS
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.errors import (
    ArtifactStoreError,
    DiskFullError,
    KeyStoreLockedError,
    SealyardError,
    WorkerError,
    ZoneUnavailableError,
)
from sealyard.model.grants import Grant, InputGrant, ResultContent, ResultGrant
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    Heartbeat,
    Job,
    JobCheckpoint,
    JobFailed,
    JobFinished,
    JobStopped,
    RunJob,
    SigningPermissionRequested,
    SigningPermitted,
    WorkerLost,
)
from sealyard.model.zone_messages import (
    AbortJob,
    Drain,
    ForwardOrder,
    GrantsRequested,
    IssueGrants,
    JobAbandoned,
    JobClaimed,
    StartJob,
)
from tests.support.bus_database import BUS_AGENT, BUS_ENGINE, BusDatabase
from tests.support.scripted_host import ClaimedJob, ScriptedHost
from tests.support.server_harness import wait_until
from tests.support.zone_bus import WORKSPACE, Engine, ZoneHarness, make_task

GRANT = Grant(url="https://example.com/x?signature", expires_at=datetime(2030, 1, 1, tzinfo=UTC))
INPUT = InputGrant(sha256="aa" * 32, size=3, grant=GRANT)
FINISHED = JobFinished(task_id="t1", fencing_token=1, sha256="bb" * 32, size=3)
SECRET = WrappedBuildSecret(wrapped="AAAA", format="file", revision=1)


async def finish(engine: Engine, host: ScriptedHost, finished: JobFinished = FINISHED) -> None:
    await host.report(finished)
    report = await engine.next(JobFinished)
    assert report == finished
    engine.bus.acknowledge(report)
    await engine.wait_written()


def count_rows(database: BusDatabase) -> list[int]:
    """Return how many reports, instructions, rows of progress and queued jobs there are."""
    tables = ("bus.report", "bus.instruction", "bus.progress", "public.procrastinate_jobs")
    return [database.execute(f"SELECT count(*) FROM {table}")[0][0] for table in tables]


async def test_job_runs_and_leaves_nothing(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        task = make_task()
        assert await engine.lease(task, host) == host.name
        job = Job(task=task, checkpoint=JobCheckpoint(task_id=task.id))
        await engine.bus.run(job, (INPUT,))
        start = await host.wait_for(StartJob)
        assert (start.task_id, start.fencing_token, start.inputs) == ("t1", 1, (INPUT,))
        assert host.open_order(start.order).message == RunJob(job=job)

        await host.report(BuildSecretCreated(task_id="t1", fencing_token=1, secret=SECRET))
        engine.bus.acknowledge(await engine.next(BuildSecretCreated))
        await engine.bus.confirm_build_secret("t1", 1)
        forwarded = await host.wait_for(ForwardOrder)
        assert host.open_order(forwarded.order).message == BuildSecretRecorded(task_id="t1", fencing_token=1)

        await host.progress(ClaimedJob("t1", 1), 3, 6)
        assert await engine.next(Heartbeat) == Heartbeat(task_id="t1", fencing_token=1, done=3, total=6)

        await host.report(SigningPermissionRequested(task_id="t1", fencing_token=1, sha256="cc" * 32))
        engine.bus.acknowledge(await engine.next(SigningPermissionRequested))
        await engine.bus.permit_signing("t1", 1, "cc" * 32)
        permitted = host.open_order((await host.wait_for(ForwardOrder)).order).message
        assert permitted == SigningPermitted(task_id="t1", fencing_token=1, sha256="cc" * 32)

        content = ResultContent(sha256="bb" * 32, size=3)
        await host.send(GrantsRequested(task_id="t1", fencing_token=1, result=content))
        engine.bus.acknowledge(await engine.next(GrantsRequested))
        grant = ResultGrant(sha256=content.sha256, grants=(GRANT,))
        await engine.bus.issue_grants("t1", 1, (), grant)
        assert await host.wait_for(IssueGrants) == IssueGrants(task_id="t1", fencing_token=1, result=grant)

        await finish(engine, host)
        assert count_rows(zone.database) == [0, 0, 0, 0]


async def test_outdated_messages_are_not_sent(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(number=2), host)
        await engine.bus.confirm_build_secret("t1", 1)
        await engine.bus.permit_signing("other", 2, "aa")
        await engine.bus.issue_grants("t1", 1, (), None)
        await engine.bus.stop("other")
        await engine.bus.stop("t1")
        await host.wait_for(StartJob)
        assert await host.wait_for(AbortJob) == AbortJob(task_id="t1", fencing_token=2)


async def test_job_released_before_its_claim_leaves_the_queue(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.reserve(make_task())
        prepare = asyncio.create_task(engine.bus.prepare("t1", 1))
        while not await host.has_queued():
            await asyncio.sleep(0.01)
        prepare.cancel()
        engine.bus.release("t1")
        await engine.wait_written()
        assert not await host.has_queued()


async def test_released_claim_is_aborted(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.lease(make_task(), host)
        engine.bus.release("t1")
        assert await host.wait_for(AbortJob) == AbortJob(task_id="t1", fencing_token=1)
        assert zone.database.execute("SELECT count(*) FROM bus.report") == [(0,)]


async def test_old_instructions_are_deleted(zone: ZoneHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is kept when a job ends, and a key command that a killed engine has left."""
    monkeypatch.setattr(bus_module, "CLEANUP_SECONDS", 0.1)
    async with zone.engine() as engine, zone.host() as host:
        await engine.lease(make_task(), host)
        engine.bus.release("t1")
        await host.wait_for(AbortJob)
        zone.database.execute("""
            INSERT INTO bus.instruction (id, workspace, host, task, body, signature)
            SELECT gen_random_uuid(), workspace, '', 'request 1', '', '' FROM bus.host;
            UPDATE bus.instruction SET at = '-infinity'
        """)

        async def has_none() -> bool:
            return zone.database.execute("SELECT count(*) FROM bus.instruction") == [(0,)]

        await wait_until(has_none, "the instruction is deleted")


async def test_late_claim_is_aborted(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host, asyncio.TaskGroup() as group:
        reader = group.create_task(engine.next(JobFinished))
        await engine.reserve(make_task())
        prepare = asyncio.create_task(engine.bus.prepare("t1", 1))
        job = await host.take()
        prepare.cancel()
        engine.bus.release("t1")
        await host.send(JobClaimed(task_id=job.task_id, number=job.number))
        assert await host.wait_for(AbortJob) == AbortJob(task_id="t1", fencing_token=1)
        reader.cancel()


async def test_second_claim_is_aborted(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host, zone.host() as other, asyncio.TaskGroup() as group:
        reader = group.create_task(engine.next(JobFinished))
        assert await engine.lease(make_task(), host) == host.name
        await other.send(JobClaimed(task_id="t1", number=1))
        await other.wait_for(AbortJob)
        reader.cancel()


async def test_claim_with_an_error_fails(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.reserve(make_task())
        prepare = asyncio.create_task(engine.bus.prepare("t1", 1))
        job = await host.take()
        error = KeyStoreLockedError("The key store is locked.").to_info()
        await host.send(JobClaimed(task_id=job.task_id, number=job.number, error=error))
        with pytest.raises(KeyStoreLockedError, match="locked"):
            await prepare
        engine.bus.release("t1")


async def test_job_without_a_claim_fails(zone: ZoneHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "CLAIM_SECONDS", 0.2)
    async with zone.engine() as engine, zone.host() as host:
        await engine.reserve(make_task())
        with pytest.raises(ZoneUnavailableError, match="has taken the task"):
            await engine.bus.prepare("t1", 1)
        engine.bus.release("t1")
        await engine.wait_written()
        assert not await host.has_queued()


async def test_stopped_job_ends_with_the_report_of_its_worker(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        await engine.bus.stop("t1")
        await host.wait_for(StartJob)
        await host.wait_for(AbortJob)
        await host.report(JobStopped(task_id="t1", fencing_token=1))
        engine.bus.acknowledge(await engine.next(JobStopped))


async def test_job_that_does_not_stop_is_lost(zone: ZoneHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "STOP_SECONDS", 0.2)
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        await engine.bus.stop("t1")
        lost = await engine.next(WorkerLost)
        assert (lost.worker, lost.task_id, lost.fencing_token) == (host.name, "t1", 1)


@pytest.mark.usefixtures("short_lease")
async def test_silent_host_loses_its_jobs(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host, zone.host() as other:
        await engine.start(make_task("t1"), host)
        await engine.start(make_task("t2"), other)
        await wait_until_known(engine)
        await host.die()
        lost = await engine.next(WorkerLost)
        assert (lost.task_id, lost.is_interrupted) == ("t1", False)
        engine.bus.acknowledge(lost)
        await engine.wait_written()
        assert zone.database.execute("SELECT DISTINCT task FROM bus.instruction") == [("t2",)]
        assert zone.database.execute("SELECT args->>'task' FROM procrastinate_jobs") == [("t2",)]


@pytest.mark.usefixtures("short_lease")
async def test_unreachable_database_interrupts_jobs(zone: ZoneHarness) -> None:
    """The host has given its job up meanwhile, and has registered with another name."""
    server = zone.database.server
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        await wait_until_known(engine)
        await asyncio.to_thread(server.stop)
        try:
            await host.die()
        finally:
            server.start()  # in this thread, with which the server ends
        async with zone.host():
            lost = await engine.next(WorkerLost)
            assert (lost.task_id, lost.is_interrupted) == ("t1", True)


async def wait_until_known(engine: Engine) -> None:
    """Wait until the engine has read a heartbeat of the host of each job."""

    async def has_heartbeats() -> bool:
        return all(job.has_host_reconnected for job in engine.bus._inbox.jobs.values())

    await wait_until(has_heartbeats, "the heartbeats are read")


@pytest.mark.parametrize("is_interrupted", [False, True])
async def test_abandoned_job_is_lost(zone: ZoneHarness, is_interrupted: bool) -> None:
    async with zone.engine() as engine, zone.host() as host, zone.host() as other:
        await engine.start(make_task(), host)
        error = WorkerError("The \x1b[31mworker died.", "x" * 10_000).to_info()
        abandoned = JobAbandoned(task_id="t1", fencing_token=1, error=error, is_interrupted=is_interrupted)
        await other.send(abandoned)  # of a host that does not have the job
        await host.send(abandoned)
        lost = await engine.next(WorkerLost)
        assert (lost.worker, lost.is_interrupted) == (host.name, is_interrupted)
        assert lost.reason == "The \\x1b[31mworker died. " + "x" * 499 + "…"


@pytest.mark.parametrize("kind", [DiskFullError, ArtifactStoreError])
async def test_lost_resource_of_a_host_is_reported(zone: ZoneHarness, kind: type[SealyardError]) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        error = kind("No space is left.", "Free some.").to_info()
        await host.send(JobAbandoned(task_id="t1", fencing_token=1, error=error))
        assert (await engine.next(JobFailed)).error == error


async def test_invalid_reports_are_ignored(zone: ZoneHarness, caplog: pytest.LogCaptureFixture) -> None:
    stranger = Ed25519PrivateKey.generate().private_bytes_raw()
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        with caplog.at_level(logging.WARNING):
            await host.report(FINISHED, key=stranger)
            await host.report(FINISHED, workspace_id="another")
            await host.insert_report(b"not JSON")
            await host.insert_report(msgspec.json.encode({"type": "JobFinished", "taskId": "t1", "fencingToken": 1}))
            await host.report(msgspec.structs.replace(FINISHED, size=4))
            report = await engine.next(JobFinished)
        assert report.size == 4
        assert sum("ignored a report" in record.message for record in caplog.records) == 1
        engine.bus.acknowledge(report)
        await engine.wait_written()
        assert zone.database.execute("SELECT count(*) FROM bus.report") == [(0,)]


async def test_reports_that_commit_late_are_received(zone: ZoneHarness) -> None:
    """A number is assigned before the commit, so that a smaller one can become visible later."""
    import psycopg

    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        async with await psycopg.AsyncConnection.connect(zone.database.agent) as late:
            await late.execute(
                "INSERT INTO bus.report (workspace, host, body) VALUES (%s, %s, %s)",
                (WORKSPACE, host.name, b'{"type":"GrantsRequested","taskId":"t1","fencingToken":1,"inputs":["late"]}'),
            )
            await host.send(GrantsRequested(task_id="t1", fencing_token=1, inputs=("early",)))
            assert (await engine.next(GrantsRequested)).inputs == ("early",)
        assert (await engine.next(GrantsRequested)).inputs == ("late",)


async def test_report_is_received_once_per_engine(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        await host.send(GrantsRequested(task_id="t1", fencing_token=1, inputs=("a",)))
        first = await engine.next(GrantsRequested)
        await host.send(GrantsRequested(task_id="t1", fencing_token=1, inputs=("b",)))
        second = await engine.next(GrantsRequested)
        assert (first.inputs, second.inputs) == (("a",), ("b",))
        engine.bus.acknowledge(second)
        await engine.wait_written()
        assert zone.database.execute("SELECT count(*) FROM bus.report") == [(1,)]


@pytest.mark.parametrize("roles", [(BUS_ENGINE,), (BUS_AGENT,), (BUS_ENGINE, BUS_AGENT)])
async def test_lost_connections_lose_nothing(zone: ZoneHarness, roles: tuple[str, ...]) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        await host.wait_for(StartJob)
        for number in range(2):
            assert zone.database.disconnect(*roles)
            await host.send(GrantsRequested(task_id="t1", fencing_token=1, inputs=(str(number),)))
            engine.bus.acknowledge(await engine.next(GrantsRequested))
            zone.database.disconnect(*roles)
            await engine.bus.permit_signing("t1", 1, str(number))
            order = host.open_order((await host.wait_for(ForwardOrder)).order)
            assert order.message == SigningPermitted(task_id="t1", fencing_token=1, sha256=str(number))
        await finish(engine, host)
        assert count_rows(zone.database) == [0, 0, 0, 0]


async def test_restart_of_the_database_loses_nothing(zone: ZoneHarness) -> None:
    server = zone.database.server
    async with zone.engine() as engine, zone.host() as host:
        await engine.start(make_task(), host)
        await host.wait_for(StartJob)
        await asyncio.to_thread(server.stop)
        try:
            while engine.bus.reserve("t2", 1):
                engine.bus.release("t2")
                await asyncio.sleep(0.02)
            await engine.bus.permit_signing("t1", 1, "aa")
            status = await engine.bus.zone_status()
            assert status is not None
            assert not status.reachable
        finally:
            server.start()  # in this thread, with which the server ends
        await host.wait_for(ForwardOrder)
        await finish(engine, host)
        await engine.reserve(make_task("t2"))


async def test_zone_without_hosts_has_no_capacity(zone: ZoneHarness) -> None:
    async with zone.engine() as engine:
        changed = asyncio.Event()
        engine.bus.on_capacity_changed(changed.set)
        assert not engine.bus.reserve("t1", 1)
        await changed.wait()  # the bus database was read
        assert not engine.bus.reserve("t1", 1)
        changed.clear()
        async with zone.host():
            await changed.wait()
            assert engine.bus.reserve("t1", 1)


async def test_capacity_limits_both_lanes(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host(slots=3):
        await engine.reserve(make_task("large", size=LARGE_JOB_BYTES))
        assert engine.bus.reserve("large2", LARGE_JOB_BYTES)
        assert not engine.bus.reserve("large3", LARGE_JOB_BYTES)
        for number in range(MAX_SMALL_JOBS):
            assert engine.bus.reserve(f"small{number}", 1, large_job_waiting=True)
        assert not engine.bus.reserve("small", 1)
        engine.bus.release("large")
        assert engine.bus.reserve("small", 1)
        assert not engine.bus.reserve("another", 1, large_job_waiting=True)


async def test_large_jobs_have_a_queue_of_their_own(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        for task in (make_task("t1", size=LARGE_JOB_BYTES), make_task("t2")):
            await engine.reserve(task)
        prepares = [asyncio.create_task(engine.bus.prepare(name, 1)) for name in ("t1", "t2")]
        assert (await host.claim()).task_id == "t2"
        assert (await host.claim(large=True)).task_id == "t1"
        assert await asyncio.gather(*prepares) == [host.name, host.name]


async def test_draining_host_gets_no_jobs(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.reserve(make_task("t1"))
        await engine.bus.drain_host(host.name)
        await host.wait_for(Drain)
        host.draining = True
        while engine.bus.reserve("t2", 1):
            engine.bus.release("t2")
            await asyncio.sleep(0.02)
        status = await engine.bus.zone_status()
        assert status is not None
        assert [each.draining for each in status.hosts] == [True]


async def test_zone_status_describes_hosts(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await engine.reserve(make_task())
        status = await engine.bus.zone_status()
        assert status is not None
        [described] = status.hosts
        assert (status.reachable, status.queued, described.name, described.slots) == (True, 0, host.name, 2)


async def test_zone_that_is_not_admitted_is_not_used(zone: ZoneHarness) -> None:
    async with zone.engine(admitted=False) as engine, zone.host() as host:
        await host.report(FINISHED)
        reader = asyncio.create_task(engine.next(JobFinished))
        status = await engine.bus.zone_status()
        while status is None or not status.hosts:
            status = await engine.bus.zone_status()
            await asyncio.sleep(0.02)
        assert not engine.bus.reserve("t1", 1)
        assert not reader.done()
        reader.cancel()


async def test_close_leaves_running_jobs(zone: ZoneHarness) -> None:
    async with zone.host() as host:
        async with zone.engine() as engine:
            await engine.start(make_task("t1"), host)
            await engine.lease(make_task("t2"), host)
            await engine.reserve(make_task("t3"))
        await host.wait_for(StartJob)
        assert await host.wait_for(AbortJob) == AbortJob(task_id="t2", fencing_token=1)
        assert engine.local.closed
        await host.receive()
        assert host.instructions == []
