"""Tests of the job bus with real workers: start on demand, crashes, hangs, requests and close."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sealyard.jobs import worker_pool
from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.environment import select_environment
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.worker_process import WorkerProcess
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import ConflictError, KeyStoreLockedError, SealyardError, WorkerError
from sealyard.model.key_commands import AuditPublicKey, GenerateKey, SignCheckpoint
from sealyard.model.worker_messages import (
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    RefusedMeasure,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)
from tests.support.bus_driver import BusDriver, drive_bus, is_alive, run_within
from tests.support.limits import TIMEOUT
from tests.support.processes import suspend
from tests.support.worker_harness import PASSPHRASE, WorkerWorkspace

SHORT_LEASE = 5
"""Seconds of a lease that tests can exceed. A worker sends a heartbeat each second, later on a busy machine."""

MESSAGE_SHA256 = hashlib.sha256(b"message").hexdigest()
LARGE = bytes(LARGE_JOB_BYTES + 128 * 1024 * 1024)
GENERATE_SLOW_KEY = GenerateKey(
    uri="local:slow", kind=KeyType.RSA_4096, purpose=KeyPurpose.BOTH, subject="slow", created_by="USER:admin"
)


def find_key_holder(worker_pid: int) -> int:
    """Return the process ID of the key holder that has started the worker."""
    return int(Path(f"/proc/{worker_pid}/stat").read_text().rpartition(")")[2].split()[1])


async def wait_until_exited(pids: tuple[int, ...]) -> bool:
    """Wait for the processes to exit, and return whether they did."""
    deadline = time.monotonic() + TIMEOUT
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return not any(is_alive(pid) for pid in pids)


async def run_until_permission_request(bus: BusDriver, job: Job) -> int:
    """Run the job until it requests permission to sign, and return the process ID of its worker."""
    await bus.start_job(job)
    await bus.next(SigningPermissionRequested)
    return bus.bus.pids[0]


def test_worker_is_started_on_demand(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            assert bus.bus.pids == ()
            await bus.start_job(workspace.package(b"firmware"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            first = bus.bus.pids
            await bus.start_job(workspace.signing(b"message"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert len(first) == 1
            assert bus.bus.pids == first

    run_within(scenario())


def test_reports_keep_their_order(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            await bus.start_job(workspace.package(b"firmware", b"more"))
            await bus.wait_for_end()
            kinds = [
                type(each)
                for each in bus.received
                if isinstance(each, SegmentEncrypted | SigningPermissionRequested | JobFinished)
            ]
            assert kinds == [SegmentEncrypted, SegmentEncrypted, SigningPermissionRequested, JobFinished]

    run_within(scenario())


def test_killed_worker_is_reported_and_replaced(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.package(b"firmware")
            pid = await run_until_permission_request(bus, job)
            os.kill(pid, signal.SIGKILL)
            lost = await bus.next(WorkerLost)
            assert (lost.task_id, lost.fencing_token, lost.worker) == (
                job.task.id,
                job.task.fencing_token,
                f"worker-{pid}",
            )
            assert bus.bus.pids == ()
            await bus.start_job(workspace.signing(b"message"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert pid not in bus.bus.pids

    run_within(scenario())


def test_killed_worker_reports_each_job_once(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            # A reservation occupies the other worker, so that these jobs share one.
            assert bus.bus.reserve("large", LARGE_JOB_BYTES)
            jobs = [workspace.signing(f"message {number}".encode()) for number in range(5)]
            for job in jobs:
                await bus.start_job(job)
                await bus.next(SigningPermissionRequested)
            [pid] = bus.bus.pids
            os.kill(pid, signal.SIGKILL)
            lost = [(await bus.next(WorkerLost)).task_id for _ in jobs]
            assert sorted(lost) == sorted(job.task.id for job in jobs)

    run_within(scenario())


def test_worker_killed_before_run_is_replaced(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"message")
            assert bus.bus.reserve(job.task.id, 7)
            await bus.bus.prepare(job.task.id, 1)
            pids = bus.bus.pids
            os.kill(pids[0], signal.SIGKILL)
            while bus.bus.pids:
                await asyncio.sleep(0.01)
            await bus.bus.run(job)
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert bus.bus.pids != pids

    run_within(scenario())


def test_run_without_startable_worker_loses_job(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"message")
            assert bus.bus.reserve(job.task.id, 7)
            await bus.bus.prepare(job.task.id, 1)
            key_holder = find_key_holder(bus.bus.pids[0])
            os.kill(bus.bus.pids[0], signal.SIGKILL)
            os.kill(key_holder, signal.SIGKILL)
            while bus.bus.pids:
                await asyncio.sleep(0.01)
            monkeypatch.setattr(sys, "executable", "/nowhere/python")
            await bus.bus.run(job)
            assert (await bus.next(WorkerLost)).task_id == job.task.id
            assert bus.bus.reserve("large", LARGE_JOB_BYTES), "the slot is free again"

    run_within(scenario())


def test_permission_after_worker_crash_is_ignored(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"message")
            os.kill(await run_until_permission_request(bus, job), signal.SIGKILL)
            await bus.next(WorkerLost)
            await bus.bus.permit_signing(job.task.id, job.task.fencing_token, MESSAGE_SHA256)
            assert bus.bus.pids == ()
            assert workspace.intents == []

    run_within(scenario())


def test_permission_with_wrong_token_is_ignored(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"message")
            await run_until_permission_request(bus, job)
            await bus.bus.permit_signing(job.task.id, job.task.fencing_token + 1, MESSAGE_SHA256)
            await bus.bus.stop(job.task.id)
            assert isinstance(await bus.wait_for_end(), JobStopped)
            assert workspace.intents == []

    run_within(scenario())


def test_silent_worker_is_killed_after_lease(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.package(b"firmware")
            pid = await run_until_permission_request(bus, job)
            monkeypatch.setattr(worker_pool, "LEASE_SECONDS", 1.5)
            suspend(pid)
            assert (await bus.next(WorkerLost)).task_id == job.task.id
            assert await wait_until_exited((pid,))

    run_within(scenario())


def test_suspended_engine_does_not_lose_worker(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "LEASE_SECONDS", SHORT_LEASE)
    monkeypatch.setattr(worker_pool, "REQUEST_TIMEOUT", SHORT_LEASE)

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"message")
            pid = await run_until_permission_request(bus, job)
            for _ in range(2):
                request = asyncio.create_task(bus.bus.request(AuditPublicKey()))
                suspend_this_process(seconds=SHORT_LEASE + 1)
                await bus.wait_for_heartbeat()
                assert (await request).text
            await bus.bus.permit_signing(job.task.id, job.task.fencing_token, MESSAGE_SHA256)
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert bus.bus.pids == (pid,)

    run_within(scenario())


def suspend_this_process(seconds: int) -> None:
    script = f"kill -STOP {os.getpid()}; sleep {seconds}; kill -CONT {os.getpid()}"
    subprocess.run(["/bin/sh", "-c", script], check=True)


def test_new_jobs_do_not_extend_lease(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            assert bus.bus.reserve("large", LARGE_JOB_BYTES)
            pid = await run_until_permission_request(bus, workspace.package(b"firmware"))
            monkeypatch.setattr(worker_pool, "LEASE_SECONDS", 1.5)
            suspend(pid)
            while is_alive(pid):
                job = workspace.signing(b"message")
                if bus.bus.reserve(job.task.id, 7):
                    await bus.bus.run(job)
                await asyncio.sleep(0.3)

    run_within(scenario())


def test_job_awaiting_permission_keeps_its_lease(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "LEASE_SECONDS", SHORT_LEASE)

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"message")
            pid = await run_until_permission_request(bus, job)
            # One heartbeat is sent each second.
            for _ in range(SHORT_LEASE + 1):
                await bus.wait_for_heartbeat()
            await bus.bus.permit_signing(job.task.id, job.task.fencing_token, MESSAGE_SHA256)
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert bus.bus.pids == (pid,)

    run_within(scenario())


def test_requests_are_answered_during_large_job(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            await bus.start_job(workspace.package(LARGE))
            await bus.wait_for_heartbeat()
            assert (await bus.bus.request(AuditPublicKey())).text
            assert not any(isinstance(each, JobFinished) for each in bus.received)
            assert isinstance(await bus.wait_for_end(), JobFinished)

    run_within(scenario())


def test_error_response_is_raised(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            command = GenerateKey(
                uri="local:both", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="x", created_by="USER:admin"
            )
            with pytest.raises(ConflictError, match="local:both"):
                await bus.bus.request(command)

    run_within(scenario())


def test_unsafe_request_is_not_retried(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            await bus.bus.request(AuditPublicKey())
            [pid] = bus.bus.pids
            suspend(pid)
            request = asyncio.create_task(bus.bus.request(GENERATE_SLOW_KEY))
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(WorkerError, match="exited before it responded"):
                await request
            assert bus.bus.pids == ()

    run_within(scenario())


def test_checkpoint_request_is_retried(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            await bus.bus.request(AuditPublicKey())
            [pid] = bus.bus.pids
            os.kill(pid, signal.SIGKILL)
            response = await bus.bus.request(SignCheckpoint(size=3, root="00" * 32))
            assert response.text is not None
            assert pid not in bus.bus.pids

    run_within(scenario())


def test_worker_hanging_on_request_is_killed(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.signing(b"message")
            await bus.start_job(job)
            assert isinstance(await bus.wait_for_end(), JobFinished)
            [pid] = bus.bus.pids
            suspend(pid)
            monkeypatch.setattr(worker_pool, "REQUEST_TIMEOUT", 0.5)
            with pytest.raises(WorkerError, match="did not respond"):
                await bus.bus.request(AuditPublicKey())
            assert await wait_until_exited((pid,))

    run_within(scenario())


def test_wrong_passphrase_raises_key_store_locked(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace, passphrase="wrong") as bus:
            assert bus.bus.reserve("t1", 7)
            with pytest.raises(KeyStoreLockedError):
                await bus.bus.prepare("t1", 1)
            with pytest.raises(KeyStoreLockedError):
                await bus.bus.request(AuditPublicKey())
            assert bus.bus.pids == ()

    run_within(scenario())


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false", "/bin/cat"])
def test_start_failure_names_the_log(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "executable", program)

    async def scenario() -> None:
        with pytest.raises((WorkerError, KeyStoreLockedError)) as caught:
            async with drive_bus(workspace) as bus:
                await bus.bus.request(AuditPublicKey())
        assert str(workspace.paths.worker_log) in caught.value.hint
        assert PASSPHRASE not in str(caught.value)

    run_within(scenario())


@pytest.mark.parametrize(
    "name",
    [
        "SEALYARD_PASSPHRASE",
        "SEALYARD_PASSPHRASE_ACME",
        "SEALYARD_PASSPHRASE_UMBRELLA",
        "SEALYARD_TOKEN",
        "SEALYARD_OTP",
        "AWS_SECRET_ACCESS_KEY",
    ],
)
def test_worker_environment_contains_no_secret(
    workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    secret = "a secret of another tenant"
    monkeypatch.setenv(name, secret)

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            await bus.bus.request(AuditPublicKey())
            [pid] = bus.bus.pids
            for file in ("environ", "cmdline"):
                content = b"".join(Path(f"/proc/{each}/{file}").read_bytes() for each in (pid, find_key_holder(pid)))
                assert secret.encode() not in content
                assert PASSPHRASE.encode() not in content
                assert name.encode() + b"=" not in content

    run_within(scenario())


def test_refused_measures_are_logged_once(
    workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = (RefusedMeasure(name="landlock", reason="Function not implemented"),)
    start = WorkerProcess.start

    async def start_refused(key_holder: KeyHolder, log_path: Path) -> WorkerProcess:
        process = await start(key_holder, log_path)
        assert process.refused_measures == ()
        process.refused_measures = refused
        return process

    monkeypatch.setattr(WorkerProcess, "start", start_refused)

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            assert not list(bus.bus.refused_measures)
            await bus.bus.request(AuditPublicKey())
            assert bus.bus.refused_measures == refused
            os.kill(bus.bus.pids[0], signal.SIGKILL)
            await bus.bus.request(AuditPublicKey())

    run_within(scenario())
    messages = [record.getMessage() for record in caplog.records if "protection" in record.getMessage()]
    assert messages == ["the crypto workers run without the protection landlock: Function not implemented"]


def test_worker_keeps_variables_of_keyring_and_locale() -> None:
    environ = {
        "HOME": "/home/dev",
        "PATH": "/usr/bin",
        "LC_ALL": "C.UTF-8",
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring",
    }
    assert select_environment({**environ, "GITHUB_TOKEN": "secret"}) == environ


def test_stopped_job_releases_its_slot(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.package(LARGE)
            await bus.start_job(job)
            await bus.wait_for_heartbeat()
            await bus.bus.stop(job.task.id)
            assert isinstance(await bus.wait_for_end(), JobStopped)
            assert bus.bus.reserve("next", LARGE_JOB_BYTES)

    run_within(scenario())


def test_worker_ignoring_stop_is_killed(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "STOP_TIMEOUT", 0.3)

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.package(b"firmware")
            pid = await run_until_permission_request(bus, job)
            suspend(pid)
            await bus.bus.stop(job.task.id)
            assert (await bus.next(WorkerLost)).task_id == job.task.id
            assert await wait_until_exited((pid,))

    run_within(scenario())


def test_close_ends_working_processes(workspace: WorkerWorkspace) -> None:
    async def scenario() -> tuple[int, ...]:
        async with drive_bus(workspace) as bus:
            await bus.start_job(workspace.package(LARGE))
            await bus.wait_for_heartbeat()
            await bus.start_job(workspace.signing(b"message"))
            await bus.next(SigningPermissionRequested)
            assert len(bus.bus.pids) == 2
            pids = bus.bus.pids
            await bus.bus.close()
            assert not any(is_alive(pid) for pid in pids)
            return pids

    run_within(scenario())
    assert workspace.intents == []


def test_close_kills_hanging_worker(workspace: WorkerWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "STOP_TIMEOUT", 0.3)

    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            pid = await run_until_permission_request(bus, workspace.signing(b"message"))
            suspend(pid)
            await bus.bus.close()
            assert not is_alive(pid)

    run_within(scenario())


def test_close_during_start_leaves_no_worker(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            request = asyncio.create_task(bus.bus.request(AuditPublicKey()))
            await asyncio.sleep(0.05)
            await bus.bus.close()
            pids = bus.bus.pids
            await asyncio.gather(request, return_exceptions=True)
            assert not any(is_alive(pid) for pid in pids)

    run_within(scenario())


def test_prepare_after_close_raises(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            assert bus.bus.reserve("t1", 7)
            await bus.bus.close()
            with pytest.raises(WorkerError, match="closing"):
                await bus.bus.prepare("t1", 1)
            assert bus.bus.pids == ()

    run_within(scenario())


def test_failed_job_keeps_its_worker(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            job = workspace.package(b"firmware", key="data")
            await bus.start_job(job)
            assert isinstance(await bus.wait_for_end(), JobFailed)
            [pid] = bus.bus.pids
            await bus.start_job(workspace.signing(b"message"))
            assert isinstance(await bus.wait_for_end(), JobFinished)
            assert bus.bus.pids == (pid,)

    run_within(scenario())


def test_small_jobs_run_during_large_job(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            await bus.start_job(workspace.package(LARGE))
            await bus.wait_for_heartbeat()
            for number in range(10):
                await bus.start_job(workspace.signing(f"message {number}".encode()))
            results = [await bus.wait_for_end() for _ in range(10)]
            assert all(isinstance(each, JobFinished) and each.signature for each in results)
            assert isinstance(await bus.wait_for_end(), JobFinished)

    run_within(scenario())


def test_invalid_request_raises_sealyard_error(workspace: WorkerWorkspace) -> None:
    async def scenario() -> None:
        async with drive_bus(workspace) as bus:
            command = GenerateKey(
                uri="local:\udcff", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="x", created_by="USER:admin"
            )
            with pytest.raises(SealyardError):
                await bus.bus.request(command)
            assert (await bus.bus.request(AuditPublicKey())).text

    run_within(scenario())
