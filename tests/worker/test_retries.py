"""A task taken up by another worker: what is recorded is used again, and nothing else is ever signed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sealyard.model.errors import ConflictError, IntegrityError, WorkerError
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


def until_intent(worker: WorkerProcess, job: Job) -> tuple[list[SegmentEncrypted], SigningPermissionRequested]:
    worker.send(RunJob(job=job))
    intent = worker.next(SigningPermissionRequested)
    return [
        each for each in worker.messages_for(SegmentEncrypted) if each.fencing_token == job.task.fencing_token
    ], intent


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.fixture
def second(house: WorkerWorkspace, start: Callable[..., WorkerProcess]) -> WorkerProcess:
    return start().open_key_store(house)


def test_segments_and_header_of_a_dead_worker_are_used_again(
    house: WorkerWorkspace, worker: WorkerProcess, second: WorkerProcess
) -> None:
    job = house.package(*CONTENTS)
    sealed, intent = until_intent(worker, job)
    assert sorted(each.segment.index for each in sealed) == [0, 1]
    worker.process.kill()
    end = second.wait_for_end(as_retry(job, sealed=sealed, intent=intent))
    assert isinstance(end, JobFinished)
    assert second.messages_for(SegmentEncrypted) == []
    assert [each.sha256 for each in second.messages_for(SigningPermissionRequested)] == [intent.sha256]
    assert intent.header is not None
    header = base64.b64decode(intent.header)
    container = house.work(job.task, "container").read_bytes()
    assert container.startswith(header)
    assert {each["sha256"] for each in house.intents} == {hashlib.sha256(header).hexdigest()}


def test_a_signature_that_was_lost_is_made_again_over_the_same_bytes(
    house: WorkerWorkspace, worker: WorkerProcess, second: WorkerProcess
) -> None:
    job = house.package(*CONTENTS)
    sealed, intent = until_intent(worker, job)
    worker.send(SigningPermitted(task_id=job.task.id, fencing_token=job.task.fencing_token))
    worker.next(JobFinished)
    assert isinstance(second.wait_for_end(as_retry(job, sealed=sealed, intent=intent)), JobFinished)
    assert [(each["fencingToken"], each["sha256"]) for each in house.intents] == [
        (1, intent.sha256),
        (2, intent.sha256),
    ]


def test_a_segment_that_was_not_recorded_is_sealed_anew(
    house: WorkerWorkspace, worker: WorkerProcess, second: WorkerProcess
) -> None:
    job = house.package(*CONTENTS)
    sealed, _ = until_intent(worker, job)
    worker.process.kill()
    [first] = [each for each in sealed if each.segment.index == 0]
    assert isinstance(second.wait_for_end(as_retry(job, sealed=[first])), JobFinished)
    assert [each.segment.index for each in second.messages_for(SegmentEncrypted)] == [1]


def test_a_recorded_segment_that_changed_is_sealed_anew_before_any_intent(
    house: WorkerWorkspace, worker: WorkerProcess, second: WorkerProcess
) -> None:
    job = house.package(*CONTENTS)
    sealed, _ = until_intent(worker, job)
    worker.process.kill()
    flip(house.work(job.task, "container"), -100)
    assert isinstance(second.wait_for_end(as_retry(job, sealed=sealed)), JobFinished)
    assert [each.segment.index for each in second.messages_for(SegmentEncrypted)] == [1]


@pytest.mark.parametrize("index", [0, 1])
def test_a_recorded_segment_that_changed_after_the_intent_breaks_the_task(
    house: WorkerWorkspace, worker: WorkerProcess, second: WorkerProcess, index: int
) -> None:
    job = house.package(*CONTENTS)
    sealed, intent = until_intent(worker, job)
    worker.process.kill()
    assert intent.header is not None
    flip(house.work(job.task, "container"), len(base64.b64decode(intent.header)) if index == 0 else -100)
    end = second.wait_for_end(as_retry(job, sealed=sealed, intent=intent))
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert "changed on disk after the package's header was recorded" in end.error.message
    assert house.intents == []


def test_a_container_that_is_gone_after_the_intent_breaks_the_task(
    house: WorkerWorkspace, worker: WorkerProcess, second: WorkerProcess
) -> None:
    job = house.package(*CONTENTS)
    sealed, intent = until_intent(worker, job)
    worker.process.kill()
    house.work(job.task, "container").unlink()
    end = second.wait_for_end(as_retry(job, sealed=sealed, intent=intent))
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code


def test_other_bytes_than_the_engine_has_recorded_are_not_signed(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = house.signing(b"message")
    intent = Intent(sha256=hashlib.sha256(b"another").hexdigest(), fencing_token=1, at=NOW)
    task = msgspec.structs.replace(job.task, fencing_token=2, intent=intent)
    end = worker.wait_for_end(msgspec.structs.replace(job, task=task))
    assert isinstance(end, JobFailed)
    assert end.error.code == WorkerError.code
    assert house.intents == []


def test_other_bytes_than_the_workers_own_log_has_are_not_signed(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = house.signing(b"message")
    sha256 = hashlib.sha256(b"message").hexdigest()
    other = f'{{"task":"{job.task.id}","fencingToken":1,"sha256":"{"00" * 32}","at":1.0}}\n'
    house.places.intents.parent.mkdir(exist_ok=True)
    house.places.intents.write_text(other)
    task = msgspec.structs.replace(job.task, fencing_token=2, intent=Intent(sha256=sha256, fencing_token=1, at=NOW))
    end = worker.wait_for_end(msgspec.structs.replace(job, task=task))
    assert isinstance(end, JobFailed)
    assert end.error.code == ConflictError.code
    assert house.places.intents.read_text() == other


def test_a_permit_under_an_old_fence_is_none(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = house.signing(b"message")
    task = msgspec.structs.replace(job.task, fencing_token=2)
    worker.send(RunJob(job=msgspec.structs.replace(job, task=task)))
    worker.next(SigningPermissionRequested)
    worker.send(SigningPermitted(task_id=task.id, fencing_token=1))
    worker.send(StopJob(task_id=task.id))
    assert worker.next(JobStopped).fencing_token == 2
    assert house.intents == []


def test_a_job_is_stopped_in_the_middle_and_the_worker_goes_on(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = house.package(bytes(192 * 1024 * 1024))
    worker.send(RunJob(job=job))
    worker.next(Heartbeat)
    worker.send(StopJob(task_id=job.task.id))
    assert worker.next(JobStopped).task_id == job.task.id
    assert house.intents == []
    assert isinstance(worker.wait_for_end(house.signing(b"message")), JobFinished)


def test_stopping_what_is_not_there_does_nothing(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.send(StopJob(task_id="t0"))
    assert isinstance(worker.wait_for_end(house.signing(b"message")), JobFinished)
