"""Full disks, damaged keys and bytes that change on the way: a clear error, and nothing is passed off as finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from worker_house import House, WorkerProcess

from sealyard.model.errors import KeyStoreDamagedError, NotFoundError, StorageError
from sealyard.model.jobs import Broken, Finished, Job

Start = Callable[..., WorkerProcess]

FLIPS = """
import sys
from sealyard.worker import __main__, {module} as making

make = making.{function}
def and_flip(*arguments):
    made = make(*arguments)
    target = arguments[2] if {module!r} == "packaging" else arguments[1]
    with target.open("r+b") as file:
        file.seek({offset}, 2 if {offset} < 0 else 0)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    return made
making.{function} = and_flip
sys.exit(__main__.main())
"""


def broken(worker: WorkerProcess, job: Job) -> Broken:
    end = worker.end(job)
    assert isinstance(end, Broken)
    return end


@pytest.mark.parametrize("make", [House.package, House.encryption])
def test_a_full_disk_breaks_the_job_and_publishes_nothing(
    house: House, start: Start, make: Callable[[House, bytes], Job]
) -> None:
    job = make(house, bytes(8 * 1024 * 1024))
    worker = start(shell="ulimit -f 4096").unlocked(house)
    end = broken(worker, job)
    assert end.error.code == StorageError.code
    assert end.error.advice
    assert house.intents == []
    assert not list((house.places.artifacts / "results").iterdir())
    assert isinstance(worker.end(house.signing(b"message")), Finished), "the worker goes on"


def test_without_room_for_the_intent_nothing_is_signed(house: House, start: Start) -> None:
    earlier = b'{"task":"t0","fence":1,"sha256":"00","at":1.0}\n'
    house.places.intents.parent.mkdir()
    house.places.intents.write_bytes(earlier * (1020 // len(earlier)))
    worker = start(shell="ulimit -f 1").unlocked(house)
    assert broken(worker, house.signing(b"message")).error.code == StorageError.code
    assert isinstance(start().unlocked(house).end(house.signing(b"message")), Finished)
    whole = [each for each in house.places.intents.read_bytes().splitlines() if each.endswith(b"}")]
    assert len(whole) == 1020 // len(earlier) + 1, "half a line harms none that follows"


@pytest.mark.parametrize("name", ["both", "content"])
def test_a_damaged_key_file_is_named(house: House, worker: WorkerProcess, name: str) -> None:
    path = house.places.keys / "local" / name / "v1.key"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    end = broken(worker, house.package(b"firmware"))
    assert end.error.code == KeyStoreDamagedError.code
    assert name in end.error.message


def test_a_missing_key_is_said_to_be_missing(house: House, worker: WorkerProcess) -> None:
    shutil.rmtree(house.places.keys / "local" / "both")
    assert broken(worker, house.signing(b"message")).error.code == NotFoundError.code


def test_an_input_that_is_gone_or_changed_breaks_the_job(house: House, worker: WorkerProcess) -> None:
    job = house.package(b"firmware", b"more firmware")
    path = house.artifacts.input_path(job.task.inputs[0].sha256)
    path.write_bytes(b"firmwarf")
    assert "does not decrypt to its inputs" in broken(worker, job).error.message
    job = house.package(b"longer firmware")
    house.artifacts.input_path(job.task.inputs[0].sha256).unlink()
    assert broken(worker, job).error.code == NotFoundError.code


@pytest.mark.parametrize("offset", [5, 1000, -1], ids=["header", "segment", "signature"])
def test_a_container_that_changes_on_the_disk_does_not_pass_the_self_check(
    house: House, start: Start, offset: int
) -> None:
    script = FLIPS.format(module="packaging", function="_finish", offset=offset)
    worker = start("-c", script).unlocked(house)
    assert broken(worker, house.package(bytes(5000))).error.message


def test_an_encrypted_file_that_changes_on_the_disk_does_not_pass_the_self_check(house: House, start: Start) -> None:
    script = FLIPS.format(module="encrypting", function="_seal", offset=1000)
    worker = start("-c", script).unlocked(house)
    assert "does not decrypt to its input" in broken(worker, house.encryption(bytes(5000))).error.message
