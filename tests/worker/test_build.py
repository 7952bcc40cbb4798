"""Tests of the build secret of a job: another host writes the same bytes, and no other contents use the same IV."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.containers.se1.format import SE1Format
from sealyard.model.approval import approval_digest
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.errors import IntegrityError, WorkerError
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    RunJob,
    SegmentEncrypted,
    StopJob,
)
from tests.support.extent import choose_cases
from tests.support.worker_harness import (
    APPROVER,
    Records,
    WorkerProcess,
    WorkerWorkspace,
    as_retry,
    with_approvals,
)
from tests.worker.attacks import Attack

Start = Callable[..., WorkerProcess]

CONTENTS = (b"first firmware" * 5000, b"second firmware" * 3000)
METADATA = b'{"version": "1.0.0"}'
STEPS = ("_record_segment", "_encrypt_segment", "_build_header", "_check_contents", "_write_signature")


@pytest.fixture
def attack(workspace: WorkerWorkspace, tmp_path: Path) -> Attack:
    return Attack(workspace, tmp_path)


@pytest.fixture
def start_host(workspace: WorkerWorkspace, tmp_path: Path) -> Iterator[Callable[[], Host]]:
    """Start workers of other hosts, which do not have the files of earlier attempts."""
    hosts: list[Host] = []

    def start() -> Host:
        hosts.append(Host(workspace, tmp_path / f"host-{len(hosts)}"))
        return hosts[-1]

    yield start
    for host in hosts:
        host.worker.close()


class Host:
    """A worker with a folder of its own."""

    def __init__(self, origin: WorkerWorkspace, root: Path) -> None:
        shutil.copytree(origin.root, root)
        shutil.rmtree(root / "artifacts" / "work")
        self.workspace = WorkerWorkspace(root, origin.keys)
        self.worker = WorkerProcess(self.workspace).open_key_store(self.workspace)

    def finish(self, job: Job, name: str = "container") -> bytes:
        """Run the job, and return the file that it writes."""
        end = self.worker.wait_for_end(job)
        assert isinstance(end, JobFinished), end
        return self.workspace.work_file(job.task, name).read_bytes()

    def fail(self, job: Job) -> JobFailed:
        end = self.worker.wait_for_end(job)
        assert isinstance(end, JobFailed), end
        assert self.workspace.intents == []
        return end


def package(workspace: WorkerWorkspace, *contents: bytes) -> Job:
    return workspace.package(*(contents or CONTENTS), metadata=(workspace.store(METADATA, "version.json"),))


def secret_of(worker: WorkerProcess) -> WrappedBuildSecret:
    (created,) = worker.messages_of(BuildSecretCreated)
    return created.secret


# ---- the same bytes


@pytest.mark.parametrize("step", choose_cases(STEPS, share=3))
def test_other_host_writes_same_package_after_crash(
    workspace: WorkerWorkspace, start_worker: Start, start_host: Callable[[], Host], attack: Attack, step: str
) -> None:
    """The second host has all records, the third one only the build secret."""
    job = package(workspace)
    worker = start_worker("-c", attack.script(f"package.{step}", crashes=True)).open_key_store(workspace)
    worker.run_until_exit(job)
    records = worker.records_of(job)
    second, third = start_host(), start_host()
    container = second.finish(as_retry(job, records))
    assert third.finish(as_retry(job, Records(records.secret))) == container
    assert second.worker.messages_of(BuildSecretCreated) == third.worker.messages_of(BuildSecretCreated) == []
    intents = {each["sha256"] for host in (second, third) for each in host.workspace.intents}
    assert len(intents) == 1
    if records.intent is not None:
        assert intents == {records.intent.sha256}
    assert {each.segment.index for each in second.worker.messages_of(SegmentEncrypted)} == {0, 1} - {
        each.index for each in records.segments
    }
    attack.require_only_approved(job, CONTENTS, (METADATA,))


def test_other_host_writes_same_package_after_kill_in_segment(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job = package(workspace, CONTENTS[0], bytes(32 * 1024 * 1024))
    worker.send(RunJob(job=job))
    while not worker.next(Heartbeat).done:
        continue
    worker.kill()
    records = worker.records_of(job)
    assert records.secret is not None
    assert start_host().finish(as_retry(job, records)) == start_host().finish(as_retry(job, Records(records.secret)))


def test_other_host_writes_same_encrypted_file(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job = workspace.encryption(CONTENTS[0])
    assert isinstance(worker.wait_for_end(job), JobFinished)
    encrypted = workspace.work_file(job.task, "encrypted").read_bytes()
    assert start_host().finish(as_retry(job, worker.records_of(job)), "encrypted") == encrypted


def test_worker_killed_before_confirmation_has_encrypted_nothing(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job = package(workspace)
    worker.confirms_build_secrets = False
    worker.send(RunJob(job=job))
    worker.next(BuildSecretCreated)
    worker.next(Heartbeat)
    worker.kill()
    assert not workspace.work_file(job.task, "container").exists()
    host = start_host()
    host.finish(as_retry(job, Records()))
    assert secret_of(host.worker) != secret_of(worker)


def test_confirmation_with_outdated_token_is_ignored(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = package(workspace)
    worker.confirms_build_secrets = False
    worker.send(RunJob(job=as_retry(job, Records())))
    worker.next(BuildSecretCreated)
    worker.send(BuildSecretRecorded(task_id=job.task.id, fencing_token=1))
    worker.send(StopJob(task_id=job.task.id))
    assert worker.next(JobStopped).fencing_token == 2
    assert worker.messages_of(SegmentEncrypted) == []


# ---- different IVs


def test_equal_files_and_tasks_have_different_ivs(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    ivs = set()
    for _ in range(2):
        job = package(workspace, CONTENTS[0], CONTENTS[0])
        assert isinstance(worker.wait_for_end(job), JobFinished)
        container = workspace.work_file(job.task, "container").read_bytes()
        for segment in worker.records_of(job).segments:
            offset = container.index(METADATA) + len(METADATA) + (segment.index + 1) * segment.length
            ivs.add(container[offset - 16 : offset])
    encryption = workspace.encryption(CONTENTS[0])
    assert isinstance(worker.wait_for_end(encryption), JobFinished)
    ivs.add(workspace.work_file(encryption.task, "encrypted").read_bytes()[-16:])
    assert len(ivs) == 5


def changed_input(job: Job, other: Job) -> Job:
    """Return the job with the inputs of ``other``, and approvals for them."""
    task = msgspec.structs.replace(job.task, inputs=other.task.inputs)
    task = msgspec.structs.replace(task, approval_digest=approval_digest(task))
    return with_approvals(msgspec.structs.replace(job, task=task), APPROVER)


def test_secret_is_refused_for_other_approved_contents(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job = package(workspace)
    other = package(workspace, b"another firmware")
    records = worker.run_until_intent(job)
    host = start_host()
    end = host.fail(changed_input(as_retry(job, Records(records.secret)), other))
    assert end.error.code == IntegrityError.code
    assert "build secret" in end.error.message
    assert not host.workspace.work_file(job.task, "container").exists()


def test_secret_of_another_task_is_refused(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job, other = package(workspace), package(workspace)
    records = worker.run_until_intent(other)
    assert "build secret" in start_host().fail(as_retry(job, Records(records.secret))).error.message


def test_secret_of_another_revision_is_refused(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job = package(workspace)
    secret = worker.run_until_intent(job).secret
    assert secret is not None
    host = start_host()
    changes: tuple[dict[str, Any], ...] = ({"revision": 2}, {"format": "se-2"})
    for change in changes:
        end = host.fail(as_retry(job, Records(msgspec.structs.replace(secret, **change))))
        assert end.error.code == WorkerError.code
        assert "another version" in end.error.message
        assert "Submit the request again" in end.error.hint


def test_secret_with_forged_revision_is_refused(
    workspace: WorkerWorkspace, start_worker: Start, start_host: Callable[[], Host]
) -> None:
    """The worker of revision 2 creates a secret, which the engine presents as one of revision 1."""
    script = "from sealyard.containers.se1.format import SE1Format; SE1Format.revision = 2\n"
    script += "import sys; from sealyard.worker.__main__ import main; sys.exit(main())"
    worker = start_worker("-c", script).open_key_store(workspace)
    job = package(workspace)
    secret = worker.run_until_intent(job).secret
    assert secret is not None
    assert secret.revision == 2
    forged_secret = msgspec.structs.replace(secret, revision=SE1Format.revision)
    assert "build secret" in start_host().fail(as_retry(job, Records(forged_secret))).error.message


# ---- lost and forged records


def test_malformed_secret_is_refused(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    for wrapped in ("", "???", "AAAA", "é"):
        job = package(workspace)
        secret = WrappedBuildSecret(wrapped=wrapped, format="se-1", revision=SE1Format.revision)
        end = worker.wait_for_end(as_retry(job, Records(secret)))
        assert isinstance(end, JobFailed)
        assert end.error.code == IntegrityError.code


FORGED_FIELDS: tuple[dict[str, Any], ...] = (
    {"sha256": "00" * 32},
    {"length": 48},
    {"plaintext_sha256": "00" * 32},
    {"index": 1},
    {"mac": ""},
)


def test_forged_segment_record_is_refused(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job = package(workspace)
    records = worker.run_until_intent(job)
    host = start_host()
    for changes in FORGED_FIELDS:
        segments = tuple(
            msgspec.structs.replace(each, **changes) if each.index == 0 else each for each in records.segments
        )
        end = host.fail(as_retry(job, records._replace(segments=segments)))
        assert end.error.code == IntegrityError.code, changes
        assert "record of an encrypted segment was changed" in end.error.message


def test_different_bytes_of_second_attempt_are_refused(workspace: WorkerWorkspace, start_worker: Start) -> None:
    """The second worker encrypts otherwise under the same revision of the format, which is a bug."""
    job = package(workspace)
    worker = start_worker().open_key_store(workspace)
    records = worker.run_until_intent(job)
    worker.kill()
    workspace.work_file(job.task, "container").unlink()
    script = "from sealyard.crypto import build_secret\n"
    script += "build_secret.BuildSecret.random = lambda self, name, length: bytes(length)\n"
    script += "import sys; from sealyard.worker.__main__ import main; sys.exit(main())"
    end = start_worker("-c", script).open_key_store(workspace).wait_for_end(as_retry(job, records))
    assert isinstance(end, JobFailed)
    assert end.error.code == IntegrityError.code
    assert "gave other bytes" in end.error.message
    assert workspace.intents == []


# ---- checkpoints of earlier versions


def test_earlier_checkpoint_without_intent_starts_again(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_worker: Start
) -> None:
    job = package(workspace)
    records = worker.run_until_intent(job)
    worker.kill()
    segments = tuple(msgspec.structs.replace(each, mac="") for each in records.segments)
    second_worker = start_worker().open_key_store(workspace)
    assert isinstance(second_worker.wait_for_end(as_retry(job, Records(segments=segments))), JobFinished)
    assert {each.segment.index for each in second_worker.messages_of(SegmentEncrypted)} == {0, 1}
    assert secret_of(second_worker) != records.secret


def test_earlier_checkpoint_with_intent_fails(
    workspace: WorkerWorkspace, worker: WorkerProcess, start_host: Callable[[], Host]
) -> None:
    job = package(workspace)
    records = worker.run_until_intent(job)
    host = start_host()
    end = host.fail(as_retry(job, records._replace(secret=None)))
    assert end.error.code == WorkerError.code
    assert "Submit the request again" in end.error.hint
    assert host.worker.messages_of(BuildSecretCreated) == []


# ---- secrecy


def test_secret_leaves_worker_only_wrapped(workspace: WorkerWorkspace, start_worker: Start, tmp_path: Path) -> None:
    """A patched worker writes the secret to a descriptor of the test; no other file or message contains it."""
    path = tmp_path / "secret"
    script = f"import os; fd = os.open({str(path)!r}, os.O_CREAT | os.O_WRONLY)\n"
    script += "from sealyard.crypto import build_secret\n"
    script += "original = build_secret.BuildSecret.__init__\n"
    script += "def record(self, value, format_name):\n    os.write(fd, value)\n    original(self, value, format_name)\n"
    script += "build_secret.BuildSecret.__init__ = record\n"
    script += "import sys; from sealyard.worker.__main__ import main; sys.exit(main())"
    worker = start_worker("-c", script).open_key_store(workspace)
    job = package(workspace)
    assert isinstance(worker.wait_for_end(job), JobFinished)
    secret = path.read_bytes()
    assert len(secret) == 32
    pattern = re.compile(b"|".join(map(re.escape, (secret, secret.hex().encode(), base64.b64encode(secret)[:40]))))
    messages = b"".join(msgspec.json.encode(message) for _, message in worker.received)
    assert pattern.search(messages) is None
    for file in workspace.root.rglob("*"):
        assert not file.is_file() or pattern.search(file.read_bytes()) is None, file
