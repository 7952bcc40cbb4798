"""Consecutive engines of one workspace: jobs continue, and an engine that was replaced changes nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from sealyard.jobs.bus import Reattachment
from sealyard.model.errors import FencedError
from sealyard.model.worker_messages import Job, JobCheckpoint, JobFinished, WorkerLost
from sealyard.model.zone_messages import AbortJob, ForwardOrder, StartJob
from tests.support.limits import TIMEOUT
from tests.support.scripted_host import ClaimedJob
from tests.support.zone_bus import ZoneHarness, make_task

FINISHED = JobFinished(task_id="t1", fencing_token=1, sha256="bb" * 32, size=3)


async def test_running_job_continues(zone: ZoneHarness) -> None:
    async with zone.host() as host:
        async with zone.engine(closes=False) as engine:
            task = await engine.start(make_task(), host)
            await host.wait_for(StartJob)
        async with zone.engine() as engine:
            assert await engine.bus.reattach(task) is Reattachment.RUNNING
            await engine.bus.permit_signing("t1", 1, "aa")
            await host.wait_for(ForwardOrder)
            await host.report(FINISHED)
            engine.bus.acknowledge(await engine.next(JobFinished))
            await engine.wait_written()
            assert zone.database.execute("SELECT count(*) FROM bus.instruction") == [(0,)]


async def test_reports_of_the_meantime_are_received(zone: ZoneHarness) -> None:
    """Also if the host has died after its last report."""
    async with zone.host() as host:
        async with zone.engine(closes=False) as engine:
            task = await engine.start(make_task(), host)
            await host.report(FINISHED)
            await engine.next(JobFinished)
        zone.database.execute("DELETE FROM bus.host")
        async with zone.engine() as engine:
            assert await engine.bus.reattach(task) is Reattachment.RUNNING
            assert await engine.next(JobFinished) == FINISHED
            assert not engine.bus._jobs


async def test_claimed_job_is_run_by_the_next_engine(zone: ZoneHarness) -> None:
    async with zone.host() as host:
        async with zone.engine(closes=False) as engine:
            worker = await engine.lease(make_task(), host)
        async with zone.engine() as engine:
            task = msgspec.structs.replace(make_task(), worker=worker)
            assert await engine.bus.reattach(task) is Reattachment.CLAIMED
            await engine.bus.run(Job(task=task, checkpoint=JobCheckpoint(task_id="t1")))
            assert (await host.wait_for(StartJob)).task_id == "t1"


async def test_claim_without_a_lease_is_adopted(zone: ZoneHarness) -> None:
    async with zone.host() as host:
        async with zone.engine(closes=False) as engine:
            await engine.lease(make_task(), host)
        async with zone.engine() as engine:
            reader = asyncio.create_task(engine.next(JobFinished))
            await engine.reserve(make_task())
            assert await engine.bus.prepare("t1", 1) == host.name
            reader.cancel()


async def test_old_claim_is_released(zone: ZoneHarness) -> None:
    """The host may have given it up."""
    async with zone.host() as host:
        async with zone.engine(closes=False) as engine:
            worker = await engine.lease(make_task(), host)
        zone.database.execute("UPDATE bus.report SET at = at - interval '2 minutes'")
        async with zone.engine() as engine:
            task = msgspec.structs.replace(make_task(), worker=worker)
            assert await engine.bus.reattach(task) is Reattachment.LOST
            assert await host.wait_for(AbortJob) == AbortJob(task_id="t1", fencing_token=1)


@pytest.mark.parametrize("is_claimed", [False, True])
async def test_job_of_a_host_that_is_gone_is_lost(zone: ZoneHarness, is_claimed: bool) -> None:
    async with zone.host() as host:
        async with zone.engine(closes=False) as engine:
            task = msgspec.structs.replace(make_task(), worker=host.name)
            await (engine.lease(task, host) if is_claimed else engine.start(task, host))
        await host.die()
        zone.database.execute("UPDATE bus.host SET seen_at = seen_at - interval '1 minute'")
        async with zone.engine() as engine:
            assert await engine.bus.reattach(task) is Reattachment.LOST
            await engine.wait_written()
            assert zone.database.execute("SELECT count(*) FROM procrastinate_jobs") == [(0,)]


async def test_job_that_no_host_has_is_lost(zone: ZoneHarness) -> None:
    async with zone.host() as host, zone.engine() as engine:
        task = msgspec.structs.replace(make_task(), worker=host.name)
        assert await engine.bus.reattach(task) is Reattachment.LOST


async def test_job_is_checked_once_the_database_is_back(zone: ZoneHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.jobs.zone.bus.CONNECT_SECONDS", 0.2)
    server = zone.database.server
    async with zone.host() as host:
        async with zone.engine(closes=False) as engine:
            running_task = await engine.start(make_task("t1"), host)
            await host.wait_for(StartJob)
        lost_task = msgspec.structs.replace(make_task("t2"), worker=host.name)
        await asyncio.to_thread(server.stop)
        async with zone.engine() as engine:
            try:
                assert await engine.bus.reattach(running_task) is Reattachment.RUNNING
                assert await engine.bus.reattach(lost_task) is Reattachment.RUNNING
            finally:
                server.start()  # in this thread, with which the server ends
            lost = await engine.next(WorkerLost)
            assert (lost.task_id, lost.is_interrupted) == ("t2", True)
            await host.progress(ClaimedJob("t1", 1), 1, 2)
            await host.report(FINISHED)
            assert await engine.next(JobFinished) == FINISHED


async def test_replaced_engine_changes_nothing(zone: ZoneHarness) -> None:
    async with zone.host() as host, zone.engine() as old:
        task = await old.start(make_task(), host)
        await host.wait_for(StartJob)
        await old.wait_written()
        async with zone.engine() as engine:
            assert await engine.bus.reattach(task) is Reattachment.RUNNING
            await engine.wait_written()
            await host.report(FINISHED)
            await engine.next(JobFinished)
            old.bus.acknowledge(FINISHED)
            async with asyncio.timeout(TIMEOUT):
                while old.bus._fenced is None:
                    await asyncio.sleep(0.02)
            await host.receive()
            assert host.instructions == []
            with pytest.raises(FencedError):
                await old.bus.permit_signing("t1", 1, "aa")
            with pytest.raises(FencedError):
                await old.bus.prepare("t1", 1)
            assert not old.bus.reserve("t2", 1)
            for table in ("bus.report", "bus.instruction"):
                assert zone.database.execute(f"SELECT count(*) FROM {table}") == [(1,)]


async def test_fenced_engine_fails_waiting_claims(zone: ZoneHarness) -> None:
    async with zone.host() as host, zone.engine() as old:
        await old.reserve(make_task())
        prepare = asyncio.create_task(old.bus.prepare("t1", 1))
        await host.take()
        async with zone.engine() as engine:
            await engine.reserve(make_task("t2"))
            await engine.wait_written()
            old.bus.acknowledge(WorkerLost(worker="", task_id="t9", fencing_token=1, at=make_task().created_at))
            with pytest.raises(FencedError):
                await prepare
