"""The bus with real workers: started on demand, replaced when they die, killed when they hang, gone when it closes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sealyard.jobs import pipe_bus as pipes
from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.worker_process import WorkerProcess
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import ConflictError, KeyStoreLockedError, SealyardError, WorkerError
from sealyard.model.worker_messages import (
    AuditPublicKey,
    GenerateKey,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    OpenKeyStore,
    SegmentEncrypted,
    SignCheckpoint,
    SigningPermissionRequested,
    WorkerLost,
)
from tests.support.bus_driver import BusDriver, drive_bus, is_alive, run_within
from tests.support.worker_harness import PASSPHRASE, WorkerWorkspace

LARGE = bytes(LARGE_JOB_BYTES + 128 * 1024 * 1024)
MAKE_KEY = GenerateKey(
    uri="local:slow", kind=KeyType.RSA_4096, purpose=KeyPurpose.BOTH, subject="slow", created_by="USER:admin"
)


async def all_gone(pids: tuple[int, ...]) -> bool:
    """Whether the processes have ended within a few seconds."""
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return not any(is_alive(pid) for pid in pids)


async def held_job(bus: BusDriver, job: Job) -> int:
    """Runs the job until it waits for leave to sign; the process id of its worker."""
    await bus.start_job(job)
    await bus.next(SigningPermissionRequested)
    return bus.bus.pids[0]


def test_a_worker_is_started_when_there_is_work_and_kept(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            assert bus.bus.pids == ()
            await bus.start_job(house.package(b"firmware"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            first = bus.bus.pids
            await bus.start_job(house.signing(b"message"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert len(first) == 1
            assert bus.bus.pids == first

    run_within(work())


def test_reports_come_in_the_order_the_worker_made_them(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            await bus.start_job(house.package(b"firmware", b"more"))
            await bus.wait_for_end()
            kinds = [
                type(each)
                for each in bus.heard
                if isinstance(each, SegmentEncrypted | SigningPermissionRequested | JobFinished)
            ]
            assert kinds == [SegmentEncrypted, SegmentEncrypted, SigningPermissionRequested, JobFinished]

    run_within(work())


def test_a_killed_worker_loses_its_jobs_and_is_replaced_for_the_next(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.package(b"firmware")
            pid = await held_job(bus, job)
            os.kill(pid, signal.SIGKILL)
            lost = await bus.next(WorkerLost)
            assert (lost.task_id, lost.fencing_token, lost.worker) == (
                job.task.id,
                job.task.fencing_token,
                f"worker-{pid}",
            )
            assert bus.bus.pids == ()
            await bus.start_job(house.signing(b"message"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert pid not in bus.bus.pids

    run_within(work())


def test_every_job_of_a_killed_worker_is_lost_once(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            # The other place is taken by a job that is only claimed, so that these share a worker.
            assert bus.bus.reserve("large", LARGE_JOB_BYTES)
            jobs = [house.signing(f"message {number}".encode()) for number in range(5)]
            for job in jobs:
                await bus.start_job(job)
                await bus.next(SigningPermissionRequested)
            [pid] = bus.bus.pids
            os.kill(pid, signal.SIGKILL)
            lost = [(await bus.next(WorkerLost)).task_id for _ in jobs]
            assert sorted(lost) == sorted(job.task.id for job in jobs)

    run_within(work())


def test_a_worker_that_dies_before_the_job_runs_costs_the_job_nothing(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.signing(b"message")
            assert bus.bus.reserve(job.task.id, 7)
            await bus.bus.prepare(job.task.id)
            pids = bus.bus.pids
            os.kill(pids[0], signal.SIGKILL)
            while bus.bus.pids:
                await asyncio.sleep(0.01)
            await bus.bus.run(job)
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert bus.bus.pids != pids

    run_within(work())


def test_a_job_is_lost_when_no_worker_can_be_started_for_it_any_more(
    house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.signing(b"message")
            assert bus.bus.reserve(job.task.id, 7)
            await bus.bus.prepare(job.task.id)
            os.kill(bus.bus.pids[0], signal.SIGKILL)
            while bus.bus.pids:
                await asyncio.sleep(0.01)
            monkeypatch.setattr(sys, "executable", "/nowhere/python")
            await bus.bus.run(job)
            assert (await bus.next(WorkerLost)).task_id == job.task.id
            assert bus.bus.reserve("large", LARGE_JOB_BYTES), "its place is free again"

    run_within(work())


def test_leave_given_after_the_worker_died_reaches_nobody(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.signing(b"message")
            os.kill(await held_job(bus, job), signal.SIGKILL)
            await bus.next(WorkerLost)
            await bus.bus.permit_signing(job.task.id, job.task.fencing_token)
            assert bus.bus.pids == ()
            assert house.intents == []

    run_within(work())


def test_leave_under_another_fence_is_not_passed_on(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.signing(b"message")
            await held_job(bus, job)
            await bus.bus.permit_signing(job.task.id, job.task.fencing_token + 1)
            await bus.bus.stop(job.task.id)
            assert isinstance(await bus.wait_for_end(), JobStopped)
            assert house.intents == []

    run_within(work())


def test_a_worker_that_falls_silent_with_a_job_is_killed_when_its_lease_is_over(
    house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "LEASE_SECONDS", 1.5)

    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.package(b"firmware")
            pid = await held_job(bus, job)
            os.kill(pid, signal.SIGSTOP)
            assert (await bus.next(WorkerLost)).task_id == job.task.id
            assert await all_gone((pid,))

    run_within(work())


def test_new_jobs_do_not_lengthen_the_lease_of_a_worker_that_is_silent(
    house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "LEASE_SECONDS", 1.5)

    async def work() -> None:
        async with drive_bus(house) as bus:
            assert bus.bus.reserve("large", LARGE_JOB_BYTES)
            pid = await held_job(bus, house.package(b"firmware"))
            os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
            while is_alive(pid):
                job = house.signing(b"message")
                if bus.bus.reserve(job.task.id, 7):
                    await bus.bus.run(job)
                await asyncio.sleep(0.3)
                assert time.monotonic() - began < 6

    run_within(work())


def test_a_job_that_waits_for_leave_keeps_its_lease(house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "LEASE_SECONDS", 1.5)

    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.signing(b"message")
            pid = await held_job(bus, job)
            for _ in range(3):
                await bus.wait_for_heartbeat()
            await bus.bus.permit_signing(job.task.id, job.task.fencing_token)
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert bus.bus.pids == (pid,)

    run_within(work())


def test_questions_are_answered_while_a_large_job_runs(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            await bus.start_job(house.package(LARGE))
            await bus.wait_for_heartbeat()
            assert (await bus.bus.request(AuditPublicKey())).text
            assert not any(isinstance(each, JobFinished) for each in bus.heard)
            assert isinstance(await bus.wait_for_end(), JobFinished)

    run_within(work())


def test_the_error_of_an_answer_is_raised(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            taken = GenerateKey(
                uri="local:both", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="x", created_by="USER:admin"
            )
            with pytest.raises(ConflictError, match="local:both"):
                await bus.bus.request(taken)

    run_within(work())


def test_a_question_that_a_worker_died_over_is_not_asked_twice_where_that_could_do_harm(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            await bus.bus.request(AuditPublicKey())
            [pid] = bus.bus.pids
            os.kill(pid, signal.SIGSTOP)
            asking = asyncio.create_task(bus.bus.request(MAKE_KEY))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(WorkerError, match="exited before it responded"):
                await asking
            assert bus.bus.pids == ()

    run_within(work())


def test_a_checkpoint_is_signed_by_the_next_worker_where_one_died_over_it(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            await bus.bus.request(AuditPublicKey())
            [pid] = bus.bus.pids
            os.kill(pid, signal.SIGKILL)
            answer = await bus.bus.request(SignCheckpoint(size=3, root="00" * 32))
            assert answer.text is not None
            assert pid not in bus.bus.pids

    run_within(work())


def test_a_worker_that_hangs_over_a_question_is_replaced(
    house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "REQUEST_TIMEOUT", 0.5)

    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.signing(b"message")
            await bus.start_job(job)
            assert isinstance(await bus.wait_for_end(), JobFinished)
            [pid] = bus.bus.pids
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(WorkerError, match="did not respond"):
                await bus.bus.request(AuditPublicKey())
            assert await all_gone((pid,))

    run_within(work())


def test_a_wrong_passphrase_is_raised_where_a_worker_is_wanted(house: WorkerWorkspace) -> None:
    wrong = OpenKeyStore(workspace=str(house.root), workspace_id="w1", key_store="passphrase", passphrase="wrong")

    async def work() -> None:
        async with drive_bus(house, unlock=wrong) as bus:
            assert bus.bus.reserve("t1", 7)
            with pytest.raises(KeyStoreLockedError):
                await bus.bus.prepare("t1")
            with pytest.raises(KeyStoreLockedError):
                await bus.bus.request(AuditPublicKey())
            assert bus.bus.pids == ()

    run_within(work())


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false", "/bin/cat"])
def test_a_program_that_is_no_worker_is_an_error_with_the_place_of_the_log(
    house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)

    async def work() -> None:
        with pytest.raises(WorkerError) as caught:
            await WorkerProcess.start(house.key_store_request, house.places.worker_log)
        assert str(house.places.worker_log) in caught.value.hint
        assert PASSPHRASE not in str(caught.value)

    run_within(work())


def test_the_passphrase_of_the_environment_is_not_handed_down(
    house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)

    async def work() -> None:
        async with drive_bus(house) as bus:
            await bus.bus.request(AuditPublicKey())
            [pid] = bus.bus.pids
            for name in ("environ", "cmdline"):
                assert PASSPHRASE.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()

    run_within(work())


def test_a_stopped_job_frees_its_place(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.package(LARGE)
            await bus.start_job(job)
            await bus.wait_for_heartbeat()
            await bus.bus.stop(job.task.id)
            assert isinstance(await bus.wait_for_end(), JobStopped)
            assert bus.bus.reserve("next", LARGE_JOB_BYTES)

    run_within(work())


def test_a_worker_that_does_not_stop_is_killed(house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "STOP_TIMEOUT", 0.3)

    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.package(b"firmware")
            pid = await held_job(bus, job)
            os.kill(pid, signal.SIGSTOP)
            await bus.bus.stop(job.task.id)
            assert (await bus.next(WorkerLost)).task_id == job.task.id
            assert await all_gone((pid,))

    run_within(work())


def test_closing_ends_every_worker_in_the_middle_of_its_work(house: WorkerWorkspace) -> None:
    async def work() -> tuple[int, ...]:
        async with drive_bus(house) as bus:
            await bus.start_job(house.package(LARGE))
            await bus.wait_for_heartbeat()
            await bus.start_job(house.signing(b"message"))
            await bus.next(SigningPermissionRequested)
            assert len(bus.bus.pids) == 2
            pids = bus.bus.pids
            await bus.bus.close()
            assert not any(is_alive(pid) for pid in pids)
            return pids

    run_within(work())
    assert house.intents == []


def test_closing_kills_a_worker_that_hangs(house: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "STOP_TIMEOUT", 0.3)

    async def work() -> None:
        async with drive_bus(house) as bus:
            pid = await held_job(bus, house.signing(b"message"))
            os.kill(pid, signal.SIGSTOP)
            await bus.bus.close()
            assert not is_alive(pid)

    run_within(work())


def test_a_worker_that_is_being_started_does_not_outlive_the_bus(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            asking = asyncio.create_task(bus.bus.request(AuditPublicKey()))
            await asyncio.sleep(0.05)
            await bus.bus.close()
            pids = bus.bus.pids
            await asyncio.gather(asking, return_exceptions=True)
            assert not any(is_alive(pid) for pid in pids)

    run_within(work())


def test_none_is_started_once_the_bus_is_closed(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            assert bus.bus.reserve("t1", 7)
            await bus.bus.close()
            with pytest.raises(WorkerError, match="closing"):
                await bus.bus.prepare("t1")
            assert bus.bus.pids == ()

    run_within(work())


def test_a_broken_job_leaves_its_worker_alive(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            job = house.package(b"firmware", key="data")
            await bus.start_job(job)
            assert isinstance(await bus.wait_for_end(), JobFailed)
            [pid] = bus.bus.pids
            await bus.start_job(house.signing(b"message"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert bus.bus.pids == (pid,)

    run_within(work())


def test_many_small_jobs_run_beside_a_large_one(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            await bus.start_job(house.package(LARGE))
            await bus.wait_for_heartbeat()
            for number in range(10):
                await bus.start_job(house.signing(f"message {number}".encode()))
            ends = [await bus.wait_for_end() for _ in range(10)]
            assert all(isinstance(each, JobFinished) and each.signature for each in ends)
            assert isinstance(await bus.wait_for_end(), JobFinished)

    run_within(work())


def test_an_error_of_ours_is_all_that_a_question_raises(house: WorkerWorkspace) -> None:
    async def work() -> None:
        async with drive_bus(house) as bus:
            odd = GenerateKey(
                uri="local:\udcff", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="x", created_by="USER:admin"
            )
            with pytest.raises(SealyardError):
                await bus.bus.request(odd)
            assert (await bus.bus.request(AuditPublicKey())).text

    run_within(work())
