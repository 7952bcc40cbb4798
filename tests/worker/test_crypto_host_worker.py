"""Tests of the worker of a crypto host: it executes only signed orders, and survives all others."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.crypto.signed_messages import MessageLabel
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import ConflictError, IntegrityError
from sealyard.model.key_commands import ExportKey, GenerateKey, ImportKey
from sealyard.model.keys import KeyInfo
from sealyard.model.signed_message import SignedMessage
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyRequest,
    OrderRefused,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
)
from sealyard.model.zone_messages import SealedResponse
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace, permit
from tests.support.zone_engine import ZoneEngine

SECRET_KEY = b"a symmetric key of 32 bytes ...."
IMPORT = ImportKey(
    uri="local:imported",
    content=SECRET_KEY,
    kind=KeyType.AES_256,
    purpose=KeyPurpose.BOTH,
    created_by="USER:admin",
)
GENERATE = GenerateKey(
    uri="local:new", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, subject="new", created_by="USER:admin"
)


class CryptoHost:
    """A workspace folder used as a crypto host, its engine, and its worker, which all tests of the module share."""

    def __init__(self, workspace: WorkerWorkspace) -> None:
        self.workspace = workspace
        self.engine = workspace.become_crypto_host()
        self.worker = WorkerProcess(workspace).open_key_store(workspace)

    def refuse(self, message: Any) -> OrderRefused:
        """Send a message as it is, and return the refusal of the worker."""
        self.worker.send_raw(message)
        return self.worker.next(OrderRefused)

    def request(self, command: Any) -> Any:
        self.worker.send(self.engine.seal(command))
        return self.engine.open_response(self.worker.next(SealedResponse))


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, workspace_template: tuple[Path, dict[str, KeyInfo]]
) -> Iterator[CryptoHost]:
    root, keys = workspace_template
    folder = tmp_path_factory.mktemp("host") / "folder"
    shutil.copytree(root, folder)
    host = CryptoHost(WorkerWorkspace(folder, keys))
    yield host
    host.worker.close()


@pytest.fixture
def job(host: CryptoHost) -> Job:
    return host.workspace.signing(b"message")


def start_until_request(host: CryptoHost, job: Job) -> SigningPermissionRequested:
    host.worker.send(RunJob(job=job))
    return host.worker.next(SigningPermissionRequested)


def finish(host: CryptoHost, request: SigningPermissionRequested) -> None:
    """Permit the job that waits, which shows that the refused orders have not changed it."""
    host.worker.send(permit(request))
    assert host.worker.next(JobFinished).task_id == request.task_id


def test_signed_orders_run_package_job(host: CryptoHost) -> None:
    job = host.workspace.package(b"firmware", b"more")
    end = host.worker.wait_for_end(job)
    assert isinstance(end, JobFinished)
    container = host.workspace.work_file(job.task, "container").read_bytes()
    assert end.sha256 == hashlib.sha256(container).hexdigest()


def test_reports_about_jobs_are_signed(host: CryptoHost) -> None:
    first = len(host.worker.lines)
    host.worker.wait_for_end(host.workspace.package(b"firmware"))
    kinds = {msgspec.json.decode(line)["type"] for line in host.worker.lines[first:]}
    assert kinds <= {"SignedMessage", "Heartbeat"}
    for kind in (BuildSecretCreated, SegmentEncrypted, SigningPermissionRequested, JobFinished):
        assert host.worker.messages_of(kind)


@pytest.mark.parametrize(
    "sign",
    [
        lambda engine, order: ZoneEngine(seed=b"x" * 32).sign(order),
        lambda engine, order: engine.sign(order, workspace="w2"),
        lambda engine, order: engine.sign(order, label=MessageLabel.INSTRUCTION),
        lambda engine, order: change_body(engine.sign(order)),
        lambda engine, order: order,
    ],
    ids=["forged", "other workspace", "other label", "changed byte", "unsigned"],
)
def test_forged_orders_are_refused(host: CryptoHost, job: Job, sign: Callable[[ZoneEngine, Any], Any]) -> None:
    refused = host.refuse(sign(host.engine, RunJob(job=job)))
    assert (refused.task_id, refused.is_running) == (job.task.id, False)
    assert refused.error.code == IntegrityError.code
    request = start_until_request(host, job)
    assert host.refuse(sign(host.engine, permit(request))).is_running
    finish(host, request)
    [intent] = [each for each in host.workspace.intents if each["task"] == job.task.id]
    assert intent["sha256"] == hashlib.sha256(b"message").hexdigest()


def change_body(signed: SignedMessage) -> SignedMessage:
    return msgspec.structs.replace(signed, body=signed.body.replace(b'"w1"', b'"w1" '))


@pytest.mark.parametrize(
    "message",
    [
        BuildSecretRecorded(task_id="t", fencing_token=1),
        SigningPermitted(task_id="t", fencing_token=1, sha256="ab" * 32),
        KeyRequest(request_id=5, command=ExportKey(uri="local:content", version=1)),
        SignedMessage(body=b"", signature=b""),
    ],
    ids=lambda message: type(message).__name__,
)
def test_unsigned_messages_are_refused(host: CryptoHost, message: Any) -> None:
    assert host.refuse(message).error.code == IntegrityError.code


def test_repeated_job_is_refused(host: CryptoHost, job: Job) -> None:
    signed = host.engine.sign(RunJob(job=job))
    host.worker.send(signed)
    request = host.worker.next(SigningPermissionRequested)
    assert host.refuse(signed).is_running
    finish(host, request)
    assert not host.refuse(signed).is_running


def test_outdated_permission_is_refused(host: CryptoHost, job: Job) -> None:
    task = msgspec.structs.replace(job.task, fencing_token=3)
    request = start_until_request(host, msgspec.structs.replace(job, task=task))
    outdated = SigningPermitted(task_id=task.id, fencing_token=2, sha256=request.sha256)
    assert host.refuse(host.engine.sign(outdated)).error.code == ConflictError.code
    finish(host, request)


def test_next_attempt_ends_permission_of_running_one(host: CryptoHost, job: Job) -> None:
    request = start_until_request(host, job)
    task = msgspec.structs.replace(job.task, fencing_token=2)
    refused = host.refuse(host.engine.sign(RunJob(job=msgspec.structs.replace(job, task=task))))
    assert (refused.fencing_token, refused.is_running) == (2, False)
    assert host.refuse(host.engine.sign(permit(request))).is_running
    host.worker.send(StopJob(task_id=job.task.id))
    assert host.worker.next(JobStopped).fencing_token == 1


def test_permission_of_other_task_does_not_permit(host: CryptoHost, job: Job) -> None:
    request = start_until_request(host, job)
    host.worker.send(SigningPermitted(task_id="other", fencing_token=1, sha256=request.sha256))
    host.worker.send(StopJob(task_id=job.task.id))
    host.worker.next(JobStopped)


def test_permission_for_other_data_fails_job(host: CryptoHost, job: Job) -> None:
    start_until_request(host, job)
    host.worker.send(SigningPermitted(task_id=job.task.id, fencing_token=1, sha256="00" * 32))
    failed = host.worker.next(JobFailed)
    assert (failed.task_id, failed.error.code) == (job.task.id, IntegrityError.code)
    assert job.task.id not in {each["task"] for each in host.workspace.intents}


def test_sealed_commands_hide_key_bytes(host: CryptoHost) -> None:
    sealed = host.engine.sign(host.engine.seal(IMPORT))
    host.worker.send(sealed)
    assert host.engine.open_response(host.worker.next(SealedResponse)).key is not None
    exported = host.request(ExportKey(uri="local:imported", version=1))
    assert exported.secret == SECRET_KEY
    for text in (sealed.body, *host.worker.lines):
        assert SECRET_KEY not in text
        assert base64.b64encode(SECRET_KEY) not in text


def test_sealed_response_has_error(host: CryptoHost) -> None:
    response = host.request(ExportKey(uri="local:missing", version=1))
    assert response.error is not None
    assert response.error.code == "not-found"


def test_repeated_command_is_refused(host: CryptoHost) -> None:
    sealed = host.engine.seal(GENERATE)
    signed = host.engine.sign(sealed)
    host.worker.send(signed)
    assert host.engine.open_response(host.worker.next(SealedResponse)).key is not None
    refused = host.refuse(signed)
    assert (refused.request_id, refused.error.code) == (sealed.request_id, ConflictError.code)


def test_expired_command_is_refused(host: CryptoHost) -> None:
    refused = host.refuse(host.engine.sign(host.engine.seal(GENERATE, seconds=-5)))
    assert "valid until" in refused.error.message


def test_refusal_is_logged_without_content(host: CryptoHost, job: Job) -> None:
    host.refuse(ZoneEngine(seed=b"x" * 32).sign(RunJob(job=job)))
    log = host.workspace.paths.worker_log.read_text()
    assert "refused an order: A message in the bus database has no valid signature" in log
    assert job.task.id not in log


def test_workspace_worker_refuses_signed_orders(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.send_raw(ZoneEngine().sign(RunJob(job=workspace.signing(b"message"))))
    assert worker.next(OrderRefused).error.code == IntegrityError.code
