"""Files that are swapped on disk after the approval: nothing is signed, and the error names the file."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sealyard.model.errors import IntegrityError
from sealyard.model.tasks import InputFile
from sealyard.model.worker_messages import (
    Job,
    JobFailed,
    JobFinished,
    RecordedSegment,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
)
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace, as_retry
from tests.worker.attacks import Attack

Start = Callable[..., WorkerProcess]

FIRMWARE = (b"approved firmware" * 3000, b"approved bootloader" * 1000)
METADATA = b'{"version": "1.0.0"}'
MESSAGE = b"approved message" * 500
"""Too long to be kept in the task: it is stored as a file."""

OTHERS = {
    "equal size": lambda data: data.swapcase(),
    "shorter": lambda data: data[:-1],
    "longer": lambda data: data * 2,
}

PACKAGING_STEPS = ("_encrypt_segment", "_build_header", "_check_contents", "_write_signature")
SIGNED_STEPS = ("_write_signature",)
"""Steps that run after everything was verified: what is swapped there is too late to matter."""


@pytest.fixture
def attack(house: WorkerWorkspace, tmp_path: Path) -> Attack:
    return Attack(house, tmp_path)


def package(house: WorkerWorkspace) -> Job:
    return house.package(*FIRMWARE, metadata=(house.store(METADATA, "version.json"),))


def stored(house: WorkerWorkspace, file: InputFile) -> Path:
    return house.artifacts.input_path(file.sha256)


def require_refused(end: JobFinished | JobFailed | object, name: str) -> None:
    assert isinstance(end, JobFailed), end
    assert end.error.code == IntegrityError.code
    assert name in end.error.message
    assert "othing was signed" in end.error.message
    assert end.error.hint


def write(path: Path, content: bytes) -> str:
    """A statement that overwrites a file where it is."""
    return f"Path({str(path)!r}).write_bytes({content!r})"


# ---- swapped before the run


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("file", ["firmware", "metadata"])
def test_package_with_input_swapped_before_the_run_is_refused(
    house: WorkerWorkspace, start: Start, attack: Attack, file: str, other: Callable[[bytes], bytes]
) -> None:
    job = package(house)
    swapped = job.task.inputs[1] if file == "firmware" else job.task.metadata[0]
    path = stored(house, swapped)
    path.write_bytes(other(path.read_bytes()))
    require_refused(start("-c", attack.script()).open_key_store(house).wait_for_end(job), swapped.name)
    assert attack.signed == []
    assert house.intents == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_stored_message_swapped_before_the_run_is_refused(
    house: WorkerWorkspace, start: Start, attack: Attack, other: Callable[[bytes], bytes]
) -> None:
    job = house.signing_of_stored(MESSAGE)
    path = stored(house, job.task.inputs[0])
    path.write_bytes(other(MESSAGE))
    require_refused(start("-c", attack.script()).open_key_store(house).wait_for_end(job), "message.bin")
    attack.require_no_signature_of(job, other(MESSAGE))
    assert attack.signed == []


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_inline_message_swapped_in_the_job_is_refused(
    house: WorkerWorkspace, start: Start, attack: Attack, other: Callable[[bytes], bytes]
) -> None:
    job = house.signing(b"approved message")
    swapped = other(b"approved message")
    job = with_input(job, inline=base64.b64encode(swapped).decode())
    require_refused(start("-c", attack.script()).open_key_store(house).wait_for_end(job), "message")
    attack.require_no_signature_of(job, swapped)
    assert attack.signed == []


def test_inline_message_that_is_not_base64_is_refused(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    require_refused(worker.wait_for_end(with_input(house.signing(b"message"), inline="???")), "message")


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_encryption_of_swapped_file_is_refused(
    house: WorkerWorkspace, worker: WorkerProcess, other: Callable[[bytes], bytes]
) -> None:
    job = house.encryption(FIRMWARE[0])
    stored(house, job.task.inputs[0]).write_bytes(other(FIRMWARE[0]))
    require_refused(worker.wait_for_end(job), "firmware.bin")
    assert not list((house.places.artifacts / "results").iterdir())


# ---- swapped during the run


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", PACKAGING_STEPS)
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("file", ["firmware", "metadata"])
def test_input_swapped_during_packaging_is_never_signed(
    house: WorkerWorkspace,
    start: Start,
    attack: Attack,
    file: str,
    other: Callable[[bytes], bytes],
    step: str,
    moment: str,
) -> None:
    job = package(house)
    swapped = job.task.inputs[0] if file == "firmware" else job.task.metadata[0]
    path = stored(house, swapped)
    unapproved = other(path.read_bytes())
    worker = start("-c", attack.script(f"package.{step}", **{moment: write(path, unapproved)})).open_key_store(house)
    end = worker.wait_for_end(job)
    if isinstance(end, JobFailed):
        require_refused(end, swapped.name)
        assert attack.signed == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


@pytest.mark.parametrize("step", PACKAGING_STEPS)
def test_segment_swapped_during_packaging_is_never_signed(
    house: WorkerWorkspace, start: Start, attack: Attack, step: str
) -> None:
    job = package(house)
    flip = f"os.pwrite(os.open({str(house.work(job.task, 'container'))!r}, os.O_RDWR), b'swapped!', 5000)"
    end = start("-c", attack.script(f"package.{step}", before=flip)).open_key_store(house).wait_for_end(job)
    if step in SIGNED_STEPS:
        # The header covers what was verified; a device refuses the segment that was swapped after that.
        attack.require_approved_headers((METADATA,))
        assert b"swapped!" not in b"".join(attack.signed)
    elif step == "_encrypt_segment":
        # The other file may be recorded already, or be written over the swapped bytes later.
        attack.require_only_approved(job, FIRMWARE, (METADATA,))
    else:
        require_refused(end, "segment 0")
        assert attack.signed == []


def test_segment_of_encryption_task_swapped_during_the_run_is_refused(
    house: WorkerWorkspace, start: Start, attack: Attack
) -> None:
    job = house.encryption(FIRMWARE[0])
    flip = f"os.pwrite(os.open({str(house.work(job.task, 'encrypted'))!r}, os.O_RDWR), b'swapped!', 5000)"
    end = start("-c", attack.script("encrypt._encrypt", after=flip)).open_key_store(house).wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code


def test_stored_message_swapped_while_the_worker_asks_is_not_signed(
    house: WorkerWorkspace, start: Start, attack: Attack
) -> None:
    """The bytes that were verified are signed, not the file."""
    job = house.signing_of_stored(MESSAGE)
    worker = start("-c", attack.script()).open_key_store(house)
    worker.send(RunJob(job=job))
    worker.next(SigningPermissionRequested)
    stored(house, job.task.inputs[0]).write_bytes(MESSAGE.swapcase())
    worker.send(SigningPermitted(task_id=job.task.id, fencing_token=job.task.fencing_token))
    worker.next(JobFinished)
    assert attack.signed == [MESSAGE]


# ---- swapped after a crash


@pytest.mark.parametrize("step", PACKAGING_STEPS)
@pytest.mark.parametrize("file", ["firmware", "metadata"])
def test_input_swapped_after_a_crash_is_never_signed(
    house: WorkerWorkspace, start: Start, attack: Attack, file: str, step: str
) -> None:
    job = package(house)
    sealed, intent = run_until_crash(start("-c", attack.script(f"package.{step}", after="os._exit(9)")), house, job)
    swapped = job.task.inputs[0] if file == "firmware" else job.task.metadata[0]
    path = stored(house, swapped)
    unapproved = path.read_bytes().swapcase()
    path.write_bytes(unapproved)
    end = start("-c", attack.script()).open_key_store(house).wait_for_end(as_retry(job, sealed=sealed, intent=intent))
    if file == "metadata" or not sealed:
        require_refused(end, swapped.name)
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


def test_recorded_header_of_other_metadata_is_refused(house: WorkerWorkspace, start: Start, attack: Attack) -> None:
    job = package(house)
    sealed, intent = run_until_intent(start().open_key_store(house), job)
    assert intent.header is not None
    other = base64.b64decode(intent.header).replace(b"1.0.0", b"6.6.6")
    forged = msgspec.structs.replace(
        intent, header=base64.b64encode(other).decode(), sha256=hashlib.sha256(other).hexdigest()
    )
    end = start("-c", attack.script()).open_key_store(house).wait_for_end(as_retry(job, sealed=sealed, intent=forged))
    require_refused(end, "recorded header")
    assert attack.signed == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


@pytest.mark.parametrize("header", [b"", b"any bytes at all", b"Bosch_SE"])
def test_recorded_header_of_any_bytes_is_refused(
    house: WorkerWorkspace, start: Start, attack: Attack, header: bytes
) -> None:
    job = package(house)
    sealed, intent = run_until_intent(start().open_key_store(house), job)
    forged = msgspec.structs.replace(
        intent, header=base64.b64encode(header).decode(), sha256=hashlib.sha256(header).hexdigest()
    )
    end = start("-c", attack.script()).open_key_store(house).wait_for_end(as_retry(job, sealed=sealed, intent=forged))
    require_refused(end, "recorded header")
    assert attack.signed == []


@pytest.mark.parametrize("claims_approved", [False, True], ids=["own digest", "approved digest"])
def test_recorded_segments_of_other_firmware_are_refused(
    house: WorkerWorkspace, start: Start, attack: Attack, claims_approved: bool
) -> None:
    """The container and its records are those of another package, encrypted with the right key."""
    job = package(house)
    unapproved = tuple(content.swapcase() for content in FIRMWARE)
    other = house.package(*unapproved, metadata=job.task.metadata)
    sealed, _ = run_until_intent(start().open_key_store(house), other)
    house.work(job.task, "container").write_bytes(house.work(other.task, "container").read_bytes())
    records = [claiming(job, each) if claims_approved else each for each in sealed]
    end = start("-c", attack.script()).open_key_store(house).wait_for_end(as_retry(job, sealed=records))
    require_refused(end, "firmware.bin")
    assert attack.signed == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


# ---- links


@pytest.mark.parametrize("step", PACKAGING_STEPS)
def test_hard_link_to_the_container_never_holds_an_unapproved_signature(
    house: WorkerWorkspace, start: Start, attack: Attack, step: str
) -> None:
    job = package(house)
    container, link = house.work(job.task, "container"), house.places.artifacts / "hidden"
    make_link = f"os.link({str(container)!r}, {str(link)!r} + os.urandom(4).hex())"  # the step may run twice at once
    script = attack.script(f"package.{step}", before=make_link)
    end = start("-c", script).open_key_store(house).wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert "hard link" in end.error.message
    if step not in SIGNED_STEPS:
        assert attack.signed == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


@pytest.mark.parametrize("name", ["container", "lock"])
def test_symbolic_link_in_the_work_folder_is_not_followed(
    house: WorkerWorkspace, start: Start, attack: Attack, tmp_path: Path, name: str
) -> None:
    job = package(house)
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"not ours")
    house.work(job.task, name).symlink_to(outside)
    end = start("-c", attack.script()).open_key_store(house).wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert "symbolic link" in end.error.message
    assert outside.read_bytes() == b"not ours"
    assert attack.signed == []


def test_work_folder_that_is_a_symbolic_link_is_refused(
    house: WorkerWorkspace, worker: WorkerProcess, tmp_path: Path
) -> None:
    job = package(house)
    outside = tmp_path / "outside"
    outside.mkdir()
    house.artifacts.work_dir(job.task.id).rmdir()
    (house.places.artifacts / "work" / job.task.id).symlink_to(outside)
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("make_link", [os.symlink, os.link])
@pytest.mark.parametrize("file", ["firmware", "metadata"])
def test_input_that_is_a_link_is_refused(
    house: WorkerWorkspace,
    start: Start,
    attack: Attack,
    tmp_path: Path,
    file: str,
    make_link: Callable[[Path, Path], None],
) -> None:
    """Even one with the approved bytes: what it leads to can change between two reads."""
    job = package(house)
    path = stored(house, job.task.inputs[0] if file == "firmware" else job.task.metadata[0])
    moved = tmp_path / "moved"
    path.rename(moved)
    make_link(moved, path)
    end = start("-c", attack.script()).open_key_store(house).wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert attack.signed == []


def test_input_that_is_a_fifo_is_refused(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = package(house)
    path = stored(house, job.task.inputs[0])
    path.unlink()
    os.mkfifo(path)
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code


# ---- parts


def with_input(job: Job, **changes: object) -> Job:
    file = msgspec.structs.replace(job.task.inputs[0], **changes)
    return msgspec.structs.replace(job, task=msgspec.structs.replace(job.task, inputs=(file,)))


def claiming(job: Job, sealed: SegmentEncrypted) -> SegmentEncrypted:
    """The record, with the digest of the input that was approved."""
    segment: RecordedSegment = sealed.segment
    approved = job.task.inputs[segment.index].sha256
    return msgspec.structs.replace(sealed, segment=msgspec.structs.replace(segment, plaintext_sha256=approved))


def run_until_intent(worker: WorkerProcess, job: Job) -> tuple[list[SegmentEncrypted], SigningPermissionRequested]:
    worker.send(RunJob(job=job))
    intent = worker.next(SigningPermissionRequested)
    worker.process.kill()
    worker.process.wait()
    return worker.messages_for(SegmentEncrypted), intent


def run_until_crash(
    worker: WorkerProcess, house: WorkerWorkspace, job: Job
) -> tuple[list[SegmentEncrypted], SigningPermissionRequested | None]:
    """What the engine has recorded when the worker ends itself in the middle of the job."""
    worker.open_key_store(house).run_until_exit(job)
    intents = worker.messages_for(SigningPermissionRequested)
    return worker.messages_for(SegmentEncrypted), intents[0] if intents else None
