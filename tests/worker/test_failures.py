"""Full disks, damaged keys and bytes that change on the way: a clear error, and nothing is passed off as finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from sealyard.model.errors import KeyStoreCorruptedError, NotFoundError, StorageError
from sealyard.model.worker_messages import Job, JobFailed, JobFinished
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace

Start = Callable[..., WorkerProcess]


def broken(worker: WorkerProcess, job: Job) -> JobFailed:
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    return end


@pytest.mark.parametrize("make", [WorkerWorkspace.package, WorkerWorkspace.encryption])
def test_a_full_disk_breaks_the_job_and_publishes_nothing(
    house: WorkerWorkspace, start: Start, make: Callable[[WorkerWorkspace, bytes], Job]
) -> None:
    job = make(house, bytes(8 * 1024 * 1024))
    worker = start(shell="ulimit -f 4096").open_key_store(house)
    end = broken(worker, job)
    assert end.error.code == StorageError.code
    assert end.error.hint
    assert house.intents == []
    assert not list((house.places.artifacts / "results").iterdir())
    assert isinstance(worker.wait_for_end(house.signing(b"message")), JobFinished), "the worker goes on"


def test_without_room_for_the_intent_nothing_is_signed(house: WorkerWorkspace, start: Start) -> None:
    earlier = b'{"task":"t0","fencingToken":1,"sha256":"00","at":1.0}\n'
    house.places.intents.parent.mkdir()
    house.places.intents.write_bytes(earlier * (1020 // len(earlier)))
    worker = start(shell="ulimit -f 1").open_key_store(house)
    assert broken(worker, house.signing(b"message")).error.code == StorageError.code
    assert isinstance(start().open_key_store(house).wait_for_end(house.signing(b"message")), JobFinished)
    whole = [each for each in house.places.intents.read_bytes().splitlines() if each.endswith(b"}")]
    assert len(whole) == 1020 // len(earlier) + 1, "half a line harms none that follows"


@pytest.mark.parametrize("name", ["both", "content"])
def test_a_damaged_key_file_is_named(house: WorkerWorkspace, worker: WorkerProcess, name: str) -> None:
    path = house.places.keys / "local" / name / "v1.key"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    end = broken(worker, house.package(b"firmware"))
    assert end.error.code == KeyStoreCorruptedError.code
    assert name in end.error.message


def test_a_missing_key_is_said_to_be_missing(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    shutil.rmtree(house.places.keys / "local" / "both")
    assert broken(worker, house.signing(b"message")).error.code == NotFoundError.code


def test_worker_with_missing_input_breaks_the_job(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = house.package(b"firmware")
    house.artifacts.input_path(job.task.inputs[0].sha256).unlink()
    assert broken(worker, job).error.code == NotFoundError.code
