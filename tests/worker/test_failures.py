"""Tests of jobs that fail because of a full disk, damaged keys or missing files."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable

import pytest

from sealyard.keyholder import file_state
from sealyard.model.errors import DiskFullError, KeyStoreCorruptedError, NotFoundError
from sealyard.model.worker_messages import Job, JobFailed, JobFinished
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace

Start = Callable[..., WorkerProcess]


def run_failing_job(worker: WorkerProcess, job: Job) -> JobFailed:
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    return end


@pytest.mark.parametrize("make", [WorkerWorkspace.package, WorkerWorkspace.encryption])
def test_full_disk_fails_job_without_result(
    workspace: WorkerWorkspace, start_worker: Start, make: Callable[[WorkerWorkspace, bytes], Job]
) -> None:
    job = make(workspace, bytes(8 * 1024 * 1024))
    worker = start_worker(shell="ulimit -f 4096").open_key_store(workspace)
    end = run_failing_job(worker, job)
    assert end.error.code == DiskFullError.code
    assert end.error.hint
    assert workspace.intents == []
    assert not list((workspace.paths.artifacts / "results").iterdir())
    assert isinstance(worker.wait_for_end(workspace.signing(b"message")), JobFinished), "the worker keeps running"


def test_full_disk_for_intent_prevents_signing(
    workspace: WorkerWorkspace, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int, data: bytes) -> None:
        os.write(workspace_fds[0], data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    workspace_fds = [os.open(workspace.paths.worker_state, os.O_WRONLY | os.O_APPEND)]
    with monkeypatch.context() as patch:
        patch.setattr(file_state, "write_all", fail)
        assert run_failing_job(worker, workspace.signing(b"message")).error.code == DiskFullError.code
    assert workspace.paths.worker_state.read_bytes().count(b"\n") == 1
    assert isinstance(worker.wait_for_end(workspace.signing(b"message")), JobFinished)
    assert len(workspace.intents) == 1, "a torn record does not affect later records"
    os.close(workspace_fds[0])


@pytest.mark.parametrize("name", ["both", "content"])
def test_damaged_key_file_is_reported(workspace: WorkerWorkspace, worker: WorkerProcess, name: str) -> None:
    path = workspace.paths.keys / "local" / name / "v1.key"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    end = run_failing_job(worker, workspace.package(b"firmware"))
    assert end.error.code == KeyStoreCorruptedError.code
    assert name in end.error.message


def test_missing_key_is_reported(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    shutil.rmtree(workspace.paths.keys / "local" / "both")
    assert run_failing_job(worker, workspace.signing(b"message")).error.code == NotFoundError.code


def test_missing_input_fails_the_job(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.package(b"firmware")
    workspace.artifacts.input_path(job.task.inputs[0].sha256).unlink()
    assert run_failing_job(worker, job).error.code == NotFoundError.code
