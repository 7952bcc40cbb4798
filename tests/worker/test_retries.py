"""Tests of a second_worker attempt of a job: recorded segments are reused, and no other bytes are signed."""

from __future__ import annotations

import base64
import hashlib
import queue
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sealyard.model.errors import ConflictError, IntegrityError, WorkerError
from sealyard.model.key_holder_messages import HolderResponse, RecordIntent
from sealyard.model.tasks import Intent
from sealyard.model.worker_messages import (
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
)
from tests.support.worker_harness import NOW, WorkerProcess, WorkerWorkspace, as_retry

CONTENTS = (b"first firmware" * 5000, b"second firmware" * 3000)


def run_until_intent(worker: WorkerProcess, job: Job) -> tuple[list[SegmentEncrypted], SigningPermissionRequested]:
    worker.send(RunJob(job=job))
    intent = worker.next(SigningPermissionRequested)
    return [
        each for each in worker.messages_of(SegmentEncrypted) if each.fencing_token == job.task.fencing_token
    ], intent


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.fixture
def second_worker(workspace: WorkerWorkspace, start_worker: Callable[..., WorkerProcess]) -> WorkerProcess:
    return start_worker().open_key_store(workspace)


def test_recorded_segments_and_header_are_reused(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess
) -> None:
    job = workspace.package(*CONTENTS)
    segments, intent = run_until_intent(worker, job)
    assert sorted(each.segment.index for each in segments) == [0, 1]
    worker.process.kill()
    end = second_worker.wait_for_end(as_retry(job, segments=segments, intent=intent))
    assert isinstance(end, JobFinished)
    assert second_worker.messages_of(SegmentEncrypted) == []
    assert [each.sha256 for each in second_worker.messages_of(SigningPermissionRequested)] == [intent.sha256]
    assert intent.header is not None
    header = base64.b64decode(intent.header)
    container = workspace.work_file(job.task, "container").read_bytes()
    assert container.startswith(header)
    assert {each["sha256"] for each in workspace.intents} == {hashlib.sha256(header).hexdigest()}


def test_lost_signature_is_repeated_over_same_bytes(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess
) -> None:
    job = workspace.package(*CONTENTS)
    segments, intent = run_until_intent(worker, job)
    worker.send(SigningPermitted(task_id=job.task.id, fencing_token=job.task.fencing_token))
    worker.next(JobFinished)
    assert isinstance(second_worker.wait_for_end(as_retry(job, segments=segments, intent=intent)), JobFinished)
    assert [(each["fencingToken"], each["sha256"]) for each in workspace.intents] == [
        (1, intent.sha256),
        (2, intent.sha256),
    ]


def test_unrecorded_segment_is_encrypted_again(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess
) -> None:
    job = workspace.package(*CONTENTS)
    segments, _ = run_until_intent(worker, job)
    worker.process.kill()
    [first] = [each for each in segments if each.segment.index == 0]
    assert isinstance(second_worker.wait_for_end(as_retry(job, segments=[first])), JobFinished)
    assert [each.segment.index for each in second_worker.messages_of(SegmentEncrypted)] == [1]


def test_changed_segment_without_intent_is_reencrypted(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess
) -> None:
    job = workspace.package(*CONTENTS)
    segments, _ = run_until_intent(worker, job)
    worker.process.kill()
    flip(workspace.work_file(job.task, "container"), -100)
    assert isinstance(second_worker.wait_for_end(as_retry(job, segments=segments)), JobFinished)
    assert [each.segment.index for each in second_worker.messages_of(SegmentEncrypted)] == [1]


@pytest.mark.parametrize("index", [0, 1])
def test_changed_segment_after_intent_fails_job(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess, index: int
) -> None:
    job = workspace.package(*CONTENTS)
    segments, intent = run_until_intent(worker, job)
    worker.process.kill()
    assert intent.header is not None
    flip(workspace.work_file(job.task, "container"), len(base64.b64decode(intent.header)) if index == 0 else -100)
    end = second_worker.wait_for_end(as_retry(job, segments=segments, intent=intent))
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert "changed on disk after the package's header was recorded" in end.error.message
    assert workspace.intents == []


def test_missing_container_after_intent_fails_job(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess
) -> None:
    job = workspace.package(*CONTENTS)
    segments, intent = run_until_intent(worker, job)
    worker.process.kill()
    workspace.work_file(job.task, "container").unlink()
    end = second_worker.wait_for_end(as_retry(job, segments=segments, intent=intent))
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code


def test_bytes_differing_from_intent_are_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.signing(b"message")
    intent = Intent(sha256=hashlib.sha256(b"another").hexdigest(), fencing_token=1, at=NOW)
    task = msgspec.structs.replace(job.task, fencing_token=2, intent=intent)
    end = worker.wait_for_end(msgspec.structs.replace(job, task=task))
    assert isinstance(end, JobFailed)
    assert end.error.code == WorkerError.code
    assert workspace.intents == []


def test_bytes_differing_from_state_are_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    """The engine claims that there is no intent, but the worker state has one."""
    job = workspace.signing(b"message")
    state = workspace.state_queue
    answers: queue.SimpleQueue[HolderResponse] = queue.SimpleQueue()
    state.submit(RecordIntent(request_id=1, task_id=job.task.id, fencing_token=1, sha256="00" * 32), answers.put)
    assert answers.get().error is None
    task = msgspec.structs.replace(job.task, fencing_token=2)
    end = worker.wait_for_end(msgspec.structs.replace(job, task=task))
    assert isinstance(end, JobFailed)
    assert end.error.code == ConflictError.code
    assert [each["sha256"] for each in workspace.intents] == ["00" * 32]


def test_permission_with_outdated_token_is_ignored(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.signing(b"message")
    task = msgspec.structs.replace(job.task, fencing_token=2)
    worker.send(RunJob(job=msgspec.structs.replace(job, task=task)))
    worker.next(SigningPermissionRequested)
    worker.send(SigningPermitted(task_id=task.id, fencing_token=1))
    worker.send(StopJob(task_id=task.id))
    assert worker.next(JobStopped).fencing_token == 2
    assert workspace.intents == []


def test_stopped_job_keeps_worker_running(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.package(bytes(192 * 1024 * 1024))
    worker.send(RunJob(job=job))
    worker.next(Heartbeat)
    worker.send(StopJob(task_id=job.task.id))
    assert worker.next(JobStopped).task_id == job.task.id
    assert workspace.intents == []
    assert isinstance(worker.wait_for_end(workspace.signing(b"message")), JobFinished)


def test_stop_of_unknown_job_is_ignored(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.send(StopJob(task_id="t0"))
    assert isinstance(worker.wait_for_end(workspace.signing(b"message")), JobFinished)
