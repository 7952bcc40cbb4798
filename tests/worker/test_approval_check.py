"""Tests of the checks that the worker performs itself: approvals, key purposes and forbidden messages."""

from __future__ import annotations

import base64
import hashlib
import shutil

import msgspec

from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.signatures import verify
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.errors import InvalidKeyError, PermissionDeniedError
from sealyard.model.tasks import RevokedApproval
from sealyard.model.worker_messages import Job, JobFailed, JobFinished, SigningPermissionRequested
from tests.support.worker_harness import APPROVER, REQUESTER, WorkerProcess, WorkerWorkspace, with_approvals

PSS = SigningAlgorithm.SHA256_RSA_3072_PSS
DIGEST = hashlib.sha256(b"something").digest()


def run_rejected_job(worker: WorkerProcess, job: Job, code: str) -> str:
    """Run a job that the worker must reject before it requests permission to sign, and return the error message."""
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == code
    assert not worker.messages_of(SigningPermissionRequested)
    return end.error.message


TOO_FEW_APPROVERS: dict[str, tuple[str, ...]] = {
    "no approver": (),
    "the requester alone": (REQUESTER,),
    "one user and the requester": (REQUESTER, APPROVER),
    "one user twice": (APPROVER, APPROVER),
    "a user and a machine client": (APPROVER, "CLIENT:ci"),
}


def test_too_few_approvals_are_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    shutil.rmtree(workspace.paths.keys / "local")
    for name, approvers in TOO_FEW_APPROVERS.items():
        job = with_approvals(workspace.package(b"firmware", approvals_required=2), *approvers)
        message = run_rejected_job(worker, job, PermissionDeniedError.code)
        assert "not have enough approvals" in message, name
    assert not list((workspace.paths.artifacts / "work").iterdir())


def test_revoked_approval_does_not_count(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = with_approvals(workspace.package(b"firmware", approvals_required=1), APPROVER)
    revoked = RevokedApproval(decision=0, at=job.task.created_at, reason="left")
    task = msgspec.structs.replace(job.task, revoked_approvals=(revoked,))
    message = run_rejected_job(worker, msgspec.structs.replace(job, task=task), PermissionDeniedError.code)
    assert "not have enough approvals" in message


def test_approval_of_other_contents_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = with_approvals(workspace.signing(b"message"), APPROVER, digest="00" * 32)
    run_rejected_job(worker, job, PermissionDeniedError.code)


def test_inputs_changed_after_approval_are_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.package(b"approved firmware")
    changed_task = msgspec.structs.replace(job.task, inputs=(workspace.store(b"other firmware"),))
    shutil.rmtree(workspace.paths.keys / "local")
    assert "do not match the contents" in run_rejected_job(
        worker, msgspec.structs.replace(job, task=changed_task), PermissionDeniedError.code
    )


def test_changed_requester_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = with_approvals(workspace.signing(b"message"), REQUESTER)
    changed_task = msgspec.structs.replace(job.task, created_by="USER:other")
    run_rejected_job(worker, msgspec.structs.replace(job, task=changed_task), PermissionDeniedError.code)


def test_packaging_with_data_key_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert "for data" in run_rejected_job(worker, workspace.package(b"firmware", key="data"), InvalidKeyError.code)


def test_signing_with_package_key_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert "for packages" in run_rejected_job(
        worker, workspace.signing(b"message", key="packages"), InvalidKeyError.code
    )


def test_message_starting_like_container_is_rejected(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    message = SE1Format.magic + b" and more"
    for key in ("both", "data"):
        assert "starts like" in run_rejected_job(worker, workspace.signing(message, key=key), InvalidKeyError.code)


def test_digest_signing_requires_data_key(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert "A digest can only be signed with a key for data" in run_rejected_job(
        worker, workspace.signing(DIGEST, "rsa-both", PSS), InvalidKeyError.code
    )
    end = worker.wait_for_end(workspace.signing(DIGEST, "rsa-data", PSS))
    assert isinstance(end, JobFinished)
    assert end.signature is not None
    certificate = workspace.keys["rsa-data"].current.certificate
    assert certificate is not None
    signature = base64.b64decode(end.signature)
    assert verify(load_certificate(certificate.encode()).public_key, PSS, DIGEST, signature, prehashed=True)


def test_signature_not_matching_certificate_is_withheld(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.signing(b"message", key="both")
    other = msgspec.structs.replace(job, certificate=workspace.keys["data"].current.certificate)
    end = worker.wait_for_end(other)
    assert isinstance(end, JobFailed)
    assert "does not match the recorded certificate" in end.error.message
