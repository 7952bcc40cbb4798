"""Tests of a second_worker attempt of a job: recorded segments are reused, and no other bytes are signed."""

from __future__ import annotations

import base64
import hashlib
import queue
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sealyard.model.errors import ConflictError, WorkerError
from sealyard.model.key_holder_messages import HolderResponse, RecordIntent
from sealyard.model.tasks import Intent
from sealyard.model.worker_messages import (
    Heartbeat,
    JobFailed,
    JobFinished,
    JobStopped,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
)
from tests.support.worker_harness import NOW, Records, WorkerProcess, WorkerWorkspace, as_retry, permit

CONTENTS = (b"first firmware" * 5000, b"second firmware" * 3000)


def intent_of(records: Records) -> SigningPermissionRequested:
    assert records.intent is not None
    return records.intent


def header_size(records: Records) -> int:
    header = intent_of(records).header
    assert header is not None
    return len(base64.b64decode(header))


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
    records = worker.run_until_intent(job)
    intent = intent_of(records)
    assert sorted(each.index for each in records.segments) == [0, 1]
    worker.kill()
    end = second_worker.wait_for_end(as_retry(job, records))
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
    records = worker.run_until_intent(job)
    assert records.intent is not None
    worker.send(permit(records.intent))
    worker.next(JobFinished)
    assert isinstance(second_worker.wait_for_end(as_retry(job, records)), JobFinished)
    assert [(each["fencingToken"], each["sha256"]) for each in workspace.intents] == [
        (1, intent_of(records).sha256),
        (2, intent_of(records).sha256),
    ]


def test_unrecorded_segment_is_encrypted_again(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess
) -> None:
    job = workspace.package(*CONTENTS)
    records = worker.run_until_intent(job)
    worker.kill()
    first = tuple(each for each in records.segments if each.index == 0)
    assert isinstance(second_worker.wait_for_end(as_retry(job, Records(records.secret, first))), JobFinished)
    assert [each.segment.index for each in second_worker.messages_of(SegmentEncrypted)] == [1]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("permitted", [False, True], ids=["before intent", "after intent"])
def test_changed_segment_is_encrypted_again(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess, index: int, permitted: bool
) -> None:
    job = workspace.package(*CONTENTS)
    records = worker.run_until_intent(job)
    worker.kill()
    container = workspace.work_file(job.task, "container")
    segments = container.read_bytes()
    flip(container, header_size(records) if index == 0 else -100)
    retry = as_retry(job, records if permitted else records._replace(intent=None))
    assert isinstance(second_worker.wait_for_end(retry), JobFinished)
    assert second_worker.messages_of(SegmentEncrypted) == [], "the record is still valid"
    assert container.read_bytes()[header_size(records) : len(segments)] == segments[header_size(records) :]
    assert {each["sha256"] for each in workspace.intents} == {intent_of(records).sha256}


def test_missing_container_is_encrypted_again(
    workspace: WorkerWorkspace, worker: WorkerProcess, second_worker: WorkerProcess
) -> None:
    job = workspace.package(*CONTENTS)
    records = worker.run_until_intent(job)
    worker.kill()
    container = workspace.work_file(job.task, "container")
    segments = container.read_bytes()[header_size(records) :]
    container.unlink()
    assert isinstance(second_worker.wait_for_end(as_retry(job, records)), JobFinished)
    assert container.read_bytes()[header_size(records) :].startswith(segments)
    assert {each["sha256"] for each in workspace.intents} == {intent_of(records).sha256}


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
    request = worker.next(SigningPermissionRequested)
    worker.send(SigningPermitted(task_id=task.id, fencing_token=1, sha256=request.sha256))
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
