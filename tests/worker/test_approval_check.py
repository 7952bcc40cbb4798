"""The worker judges for itself: approvals, purposes of keys, and what must not be signed."""

from __future__ import annotations

import base64
import hashlib
import shutil

import msgspec
import pytest

from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.signatures import verify
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.errors import InvalidKeyError, PermissionDeniedError
from sealyard.model.worker_messages import Job, JobFailed, JobFinished, SigningPermissionRequested
from tests.support.worker_harness import APPROVER, REQUESTER, WorkerProcess, WorkerWorkspace, with_approvals

PSS = SigningAlgorithm.SHA256_RSA_3072_PSS
DIGEST = hashlib.sha256(b"something").digest()


def refused(worker: WorkerProcess, job: Job, code: str) -> str:
    """The words of the refusal; the worker has not even asked for leave to sign."""
    end = worker.wait_for_end(job)
    assert isinstance(end, JobFailed)
    assert end.error.code == code
    assert not worker.messages_for(SigningPermissionRequested)
    return end.error.message


@pytest.mark.parametrize(
    "approvers",
    [
        pytest.param((), id="nobody"),
        pytest.param((REQUESTER,), id="the requester alone"),
        pytest.param((REQUESTER, APPROVER), id="one person and the requester"),
        pytest.param((APPROVER, APPROVER), id="one person twice"),
        pytest.param((APPROVER, "CLIENT:ci"), id="a machine beside a person"),
    ],
)
def test_too_few_approvals_are_refused_before_a_key_is_touched(
    house: WorkerWorkspace, worker: WorkerProcess, approvers: tuple[str, ...]
) -> None:
    job = with_approvals(house.package(b"firmware", approvals_required=2), *approvers)
    shutil.rmtree(house.places.keys / "local")
    assert "not have enough approvals" in refused(worker, job, PermissionDeniedError.code)
    assert not list((house.places.artifacts / "work").iterdir())


def test_approvals_of_something_else_do_not_count(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = with_approvals(house.signing(b"message"), APPROVER, digest="00" * 32)
    refused(worker, job, PermissionDeniedError.code)


def test_inputs_changed_after_the_approval_are_refused(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = house.package(b"approved firmware")
    other = msgspec.structs.replace(job.task, inputs=(house.store(b"other firmware"),))
    shutil.rmtree(house.places.keys / "local")
    assert "do not match the contents" in refused(
        worker, msgspec.structs.replace(job, task=other), PermissionDeniedError.code
    )


def test_a_requester_does_not_become_another_by_changing_the_task(
    house: WorkerWorkspace, worker: WorkerProcess
) -> None:
    job = with_approvals(house.signing(b"message"), REQUESTER)
    other = msgspec.structs.replace(job.task, created_by="USER:somebody")
    refused(worker, msgspec.structs.replace(job, task=other), PermissionDeniedError.code)


def test_a_key_for_data_packs_nothing(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert "for data" in refused(worker, house.package(b"firmware", key="data"), InvalidKeyError.code)


def test_a_key_for_packages_signs_no_data(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert "for packages" in refused(worker, house.signing(b"message", key="packages"), InvalidKeyError.code)


def test_a_message_that_begins_like_a_container_is_refused(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    message = SE1Format.magic + b" and more"
    for key in ("both", "data"):
        assert "starts like" in refused(worker, house.signing(message, key=key), InvalidKeyError.code)


def test_a_bare_digest_wants_a_key_for_data_only(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert "A digest can only be signed with a key for data" in refused(
        worker, house.signing(DIGEST, "rsa-both", PSS), InvalidKeyError.code
    )
    end = worker.wait_for_end(house.signing(DIGEST, "rsa-data", PSS))
    assert isinstance(end, JobFinished)
    assert end.signature is not None
    certificate = house.keys["rsa-data"].current.certificate
    assert certificate is not None
    signature = base64.b64decode(end.signature)
    assert verify(load_certificate(certificate.encode()).public_key, PSS, DIGEST, signature, prehashed=True)


def test_a_signature_that_does_not_fit_the_certificate_on_record_is_not_released(
    house: WorkerWorkspace, worker: WorkerProcess
) -> None:
    job = house.signing(b"message", key="both")
    other = msgspec.structs.replace(job, certificate=house.keys["data"].current.certificate)
    end = worker.wait_for_end(other)
    assert isinstance(end, JobFailed)
    assert "does not match the recorded certificate" in end.error.message
