"""Tests of files that are replaced on disk after the approval: nothing is signed, and the error names the file."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
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
    SigningPermissionRequested,
)
from tests.support.extent import choose_cases
from tests.support.worker_harness import Records, WorkerProcess, WorkerWorkspace, as_retry, permit
from tests.worker.attacks import Attack

Start = Callable[..., WorkerProcess]

FIRMWARE = (b"approved firmware" * 3000, b"approved bootloader" * 1000)
METADATA = b'{"version": "1.0.0"}'
MESSAGE = b"approved message" * 500
"""Too long for the task, so that it is stored as a file."""

MODIFICATIONS: dict[str, Callable[[bytes], bytes]] = {
    "equal size": lambda data: data.swapcase(),
    "shorter": lambda data: data[:-1],
    "longer": lambda data: data * 2,
}

PACKAGING_STEPS = ("_encrypt_segment", "_build_header", "_check_contents", "_write_signature")
SIGNED_STEPS = ("_write_signature",)
"""Steps that run after all contents were verified and signed, when a swap has no effect on the signature."""

RUNNING_SWAPS = choose_cases(
    list(product(MODIFICATIONS, ("firmware", "metadata"), PACKAGING_STEPS, ("before", "after"))), share=11
)
"""The swaps during a run; those of a normal run have each modification, file, step and moment."""

SWAPS_AFTER_CRASH = choose_cases(list(product(("firmware", "metadata"), PACKAGING_STEPS)), share=5)


@pytest.fixture
def attack(workspace: WorkerWorkspace, tmp_path: Path) -> Attack:
    return Attack(workspace, tmp_path)


def package(workspace: WorkerWorkspace) -> Job:
    return workspace.package(*FIRMWARE, metadata=(workspace.store(METADATA, "version.json"),))


def input_path(workspace: WorkerWorkspace, file: InputFile) -> Path:
    return workspace.artifacts.input_path(file.sha256)


def require_rejected(end: JobFinished | JobFailed | object, name: str) -> None:
    assert isinstance(end, JobFailed), end
    assert end.error.code == IntegrityError.code
    assert name in end.error.message
    assert "othing was signed" in end.error.message
    assert end.error.hint


@contextmanager
def swapped(path: Path, modify: Callable[[bytes], bytes]) -> Iterator[None]:
    """Replace the content of a file until the end of the block."""
    approved = path.read_bytes()
    path.write_bytes(modify(approved))
    yield
    path.write_bytes(approved)


def write(path: Path, content: bytes) -> str:
    """Return a statement that overwrites a file in place."""
    return f"Path({str(path)!r}).write_bytes({content!r})"


# ---- swapped before the run


def test_package_input_swapped_before_run_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack
) -> None:
    worker = start_worker("-c", attack.script()).open_key_store(workspace)
    for file, modify in product(("firmware", "metadata"), MODIFICATIONS.values()):
        job = package(workspace)
        target = job.task.inputs[1] if file == "firmware" else job.task.metadata[0]
        with swapped(input_path(workspace, target), modify):
            require_rejected(worker.wait_for_end(job), target.name)
        assert attack.signed_inputs == []
        assert workspace.intents == []
        attack.require_only_approved(job, FIRMWARE, (METADATA,))


def test_stored_message_swapped_before_run_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack
) -> None:
    worker = start_worker("-c", attack.script()).open_key_store(workspace)
    for modify in MODIFICATIONS.values():
        job = workspace.signing_of_file(MESSAGE)
        with swapped(input_path(workspace, job.task.inputs[0]), modify):
            require_rejected(worker.wait_for_end(job), "message.bin")
        attack.require_no_signature_of(job, modify(MESSAGE))
        assert attack.signed_inputs == []


def test_inline_message_swapped_in_job_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack
) -> None:
    worker = start_worker("-c", attack.script()).open_key_store(workspace)
    for modify in MODIFICATIONS.values():
        swapped_message = modify(b"approved message")
        job = workspace.signing(b"approved message")
        job = with_input(job, inline=base64.b64encode(swapped_message).decode())
        require_rejected(worker.wait_for_end(job), "message")
        attack.require_no_signature_of(job, swapped_message)
        assert attack.signed_inputs == []


def test_inline_message_not_base64_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    require_rejected(worker.wait_for_end(with_input(workspace.signing(b"message"), inline="???")), "message")


def test_encryption_of_swapped_file_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    for modify in MODIFICATIONS.values():
        job = workspace.encryption(FIRMWARE[0])
        with swapped(input_path(workspace, job.task.inputs[0]), modify):
            require_rejected(worker.wait_for_end(job), "firmware.bin")
        assert not list((workspace.paths.artifacts / "results").iterdir())


# ---- swapped during the run


@pytest.mark.parametrize(("modification", "file", "step", "moment"), RUNNING_SWAPS)
def test_input_swapped_during_packaging_never_signed(
    workspace: WorkerWorkspace,
    start_worker: Start,
    attack: Attack,
    modification: str,
    file: str,
    step: str,
    moment: str,
) -> None:
    job = package(workspace)
    target = job.task.inputs[0] if file == "firmware" else job.task.metadata[0]
    path = input_path(workspace, target)
    unapproved = MODIFICATIONS[modification](path.read_bytes())
    swap = write(path, unapproved)
    before, after = (swap, "pass") if moment == "before" else ("pass", swap)
    worker = start_worker("-c", attack.script(f"package.{step}", before=before, after=after)).open_key_store(workspace)
    end = worker.wait_for_end(job)
    if isinstance(end, JobFailed):
        require_rejected(end, target.name)
        assert attack.signed_inputs == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


@pytest.mark.parametrize("step", PACKAGING_STEPS)
def test_segment_swapped_during_packaging_never_signed(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack, step: str
) -> None:
    job = package(workspace)
    flip = f"os.pwrite(os.open({str(workspace.work_file(job.task, 'container'))!r}, os.O_RDWR), b'swapped!', 5000)"
    end = start_worker("-c", attack.script(f"package.{step}", before=flip)).open_key_store(workspace).wait_for_end(job)
    if step in SIGNED_STEPS:
        # The header covers the verified segments; a device rejects the segment that was swapped afterwards.
        attack.require_approved_headers((METADATA,))
        assert b"swapped!" not in b"".join(attack.signed_inputs)
    elif step == "_encrypt_segment":
        # The second segment may already be recorded, or overwrite the swapped bytes later.
        attack.require_only_approved(job, FIRMWARE, (METADATA,))
    else:
        require_rejected(end, "segment 0")
        assert attack.signed_inputs == []


def test_encrypted_segment_swapped_during_run_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack
) -> None:
    job = workspace.encryption(FIRMWARE[0])
    flip = f"os.pwrite(os.open({str(workspace.work_file(job.task, 'encrypted'))!r}, os.O_RDWR), b'swapped!', 5000)"
    end = start_worker("-c", attack.script("encrypt._encrypt", after=flip)).open_key_store(workspace).wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code


def test_message_swapped_during_permission_is_ignored(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack
) -> None:
    """The worker signs the verified bytes, not the file."""
    job = workspace.signing_of_file(MESSAGE)
    worker = start_worker("-c", attack.script()).open_key_store(workspace)
    worker.send(RunJob(job=job))
    request = worker.next(SigningPermissionRequested)
    input_path(workspace, job.task.inputs[0]).write_bytes(MESSAGE.swapcase())
    worker.send(permit(request))
    worker.next(JobFinished)
    assert attack.signed_inputs == [MESSAGE]


# ---- swapped after a crash


@pytest.mark.parametrize(("file", "step"), SWAPS_AFTER_CRASH)
def test_input_swapped_after_crash_never_signed(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack, file: str, step: str
) -> None:
    job = package(workspace)
    records = run_until_crash(start_worker("-c", attack.script(f"package.{step}", crashes=True)), workspace, job)
    target = job.task.inputs[0] if file == "firmware" else job.task.metadata[0]
    path = input_path(workspace, target)
    unapproved = path.read_bytes().swapcase()
    path.write_bytes(unapproved)
    end = start_worker("-c", attack.script()).open_key_store(workspace).wait_for_end(as_retry(job, records))
    if file == "metadata" or not records.segments:
        require_rejected(end, target.name)
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


def test_recorded_header_of_other_metadata_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack
) -> None:
    job = package(workspace)
    records = run_until_intent(start_worker().open_key_store(workspace), job)
    intent = records.intent
    assert intent is not None
    assert intent.header is not None
    other = base64.b64decode(intent.header).replace(b"1.0.0", b"6.6.6")
    forged_intent = msgspec.structs.replace(
        intent, header=base64.b64encode(other).decode(), sha256=hashlib.sha256(other).hexdigest()
    )
    end = (
        start_worker("-c", attack.script())
        .open_key_store(workspace)
        .wait_for_end(as_retry(job, records._replace(intent=forged_intent)))
    )
    require_rejected(end, "recorded header")
    assert attack.signed_inputs == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


def test_recorded_header_of_arbitrary_bytes_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack
) -> None:
    job = package(workspace)
    records = run_until_intent(start_worker().open_key_store(workspace), job)
    intent = records.intent
    assert intent is not None
    worker = start_worker("-c", attack.script()).open_key_store(workspace)
    for header in (b"", b"any bytes at all", b"Bosch_SE"):
        forged_intent = msgspec.structs.replace(
            intent, header=base64.b64encode(header).decode(), sha256=hashlib.sha256(header).hexdigest()
        )
        end = worker.wait_for_end(as_retry(job, records._replace(intent=forged_intent)))
        require_rejected(end, "recorded header")
        assert attack.signed_inputs == []


@pytest.mark.parametrize("claims_approved", [False, True], ids=["own digest", "approved digest"])
@pytest.mark.parametrize("own_secret", [False, True], ids=["secret of the other package", "own secret"])
def test_recorded_segments_of_other_firmware_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack, claims_approved: bool, own_secret: bool
) -> None:
    """Use the container and the records of another package, encrypted with the right key."""
    job = package(workspace)
    unapproved = tuple(content.swapcase() for content in FIRMWARE)
    other = workspace.package(*unapproved, metadata=job.task.metadata)
    worker = start_worker().open_key_store(workspace)
    records = worker.run_until_intent(other)
    if own_secret:
        records = records._replace(secret=worker.run_until_intent(job).secret)
    worker.kill()
    workspace.work_file(job.task, "container").write_bytes(workspace.work_file(other.task, "container").read_bytes())
    segments = tuple(with_approved_digest(job, each) if claims_approved else each for each in records.segments)
    retry = as_retry(job, Records(records.secret, segments))
    end = start_worker("-c", attack.script()).open_key_store(workspace).wait_for_end(retry)
    require_rejected(end, "record of an encrypted segment" if own_secret else "build secret")
    assert attack.signed_inputs == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


# ---- links


@pytest.mark.parametrize("step", choose_cases(PACKAGING_STEPS[::-1], share=2))
def test_hard_link_to_container_is_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack, step: str
) -> None:
    job = package(workspace)
    container, link = workspace.work_file(job.task, "container"), workspace.paths.artifacts / "hidden"
    make_link = (
        f"os.link({str(container)!r}, {str(link)!r} + os.urandom(4).hex())"  # the step may run twice concurrently
    )
    script = attack.script(f"package.{step}", before=make_link)
    end = start_worker("-c", script).open_key_store(workspace).wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert "hard link" in end.error.message
    if step not in SIGNED_STEPS:
        assert attack.signed_inputs == []
    attack.require_only_approved(job, FIRMWARE, (METADATA,))


def test_symlink_in_work_folder_not_followed(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"foreign")
    worker = start_worker("-c", attack.script()).open_key_store(workspace)
    for name in ("container", "lock"):
        job = package(workspace)
        workspace.work_file(job.task, name).symlink_to(outside)
        end = worker.wait_for_end(job)
        assert isinstance(end, JobFailed)
        assert end.error.code == IntegrityError.code
        assert "symbolic link" in end.error.message
        assert outside.read_bytes() == b"foreign"
        assert attack.signed_inputs == []


def test_symlink_as_work_folder_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess, tmp_path: Path) -> None:
    job = package(workspace)
    outside = tmp_path / "outside"
    outside.mkdir()
    workspace.artifacts.work_dir(job.task.id).rmdir()
    (workspace.paths.artifacts / "work" / job.task.id).symlink_to(outside)
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert list(outside.iterdir()) == []


def test_link_as_input_is_rejected(
    workspace: WorkerWorkspace, start_worker: Start, attack: Attack, tmp_path: Path
) -> None:
    """A link is rejected even if its target has the approved bytes, because the target can change between two reads."""
    worker = start_worker("-c", attack.script()).open_key_store(workspace)
    target = tmp_path / "target"
    make_links: tuple[Callable[[Path, Path], None], ...] = (os.symlink, os.link)
    for file, make_link in product(("firmware", "metadata"), make_links):
        job = package(workspace)
        path = input_path(workspace, job.task.inputs[0] if file == "firmware" else job.task.metadata[0])
        path.rename(target)
        make_link(target, path)
        end = worker.wait_for_end(job)
        assert isinstance(end, JobFailed)
        assert end.error.code == IntegrityError.code
        assert attack.signed_inputs == []
        path.unlink()
        target.rename(path)


def test_fifo_as_input_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = package(workspace)
    path = input_path(workspace, job.task.inputs[0])
    path.unlink()
    os.mkfifo(path)
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code


# ---- helpers


def with_input(job: Job, **changes: object) -> Job:
    file = msgspec.structs.replace(job.task.inputs[0], **changes)
    return msgspec.structs.replace(job, task=msgspec.structs.replace(job.task, inputs=(file,)))


def with_approved_digest(job: Job, segment: RecordedSegment) -> RecordedSegment:
    """Return the record with the digest of the approved input."""
    return msgspec.structs.replace(segment, plaintext_sha256=job.task.inputs[segment.index].sha256)


def run_until_intent(worker: WorkerProcess, job: Job) -> Records:
    records = worker.run_until_intent(job)
    worker.kill()
    return records


def run_until_crash(worker: WorkerProcess, workspace: WorkerWorkspace, job: Job) -> Records:
    """Return the records of the engine after the worker crashed during the job."""
    worker.open_key_store(workspace).run_until_exit(job)
    return worker.records_of(job)
