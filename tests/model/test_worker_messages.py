"""Tests of the messages between engine and worker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import ErrorInfo
from sealyard.model.key_commands import (
    AuditPublicKey,
    CreateCertificateRequest,
    ExportKey,
    GenerateKey,
    GetSignedCheckpoint,
    ImportCertificate,
    ImportKey,
    ProbeAuditKey,
    ProbeEncryptionKey,
    ProbeSigningKey,
    RotateKey,
    SignCheckpoint,
)
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.signed_message import SignedMessage
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    FromWorker,
    Heartbeat,
    Job,
    JobCheckpoint,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyRequest,
    KeyResponse,
    OrderRefused,
    RecordedSegment,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
    ToWorker,
    WorkerReady,
    WorkerStartFailed,
)
from tests.support.factories.tasks import NOW, running

SECRET = WrappedBuildSecret(wrapped="AAAA", format="se-1", revision=1)
SEGMENT = RecordedSegment(index=1, length=48, sha256="aa" * 32, plaintext_sha256="bb" * 32, mac="cc" * 32)
VERSION = KeyVersion(version=1, created_at=NOW, origin="generated", fingerprint="ff", certificate="PEM")
KEY = KeyInfo(uri="local:a", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, versions=(VERSION,))
ERROR = ErrorInfo(code="worker", message="It died.", hint="Try again.")
JOB = Job(
    task=running(),
    checkpoint=JobCheckpoint(task_id="t1", build_secret=SECRET, segments=(SEGMENT,), header="AAAA"),
    certificate="PEM",
    signing_kind=KeyType.ED25519,
)
GENERATE = GenerateKey(
    uri="local:a", kind=KeyType.AES_128, purpose=KeyPurpose.BOTH, subject="gateway", created_by="USER:a"
)
SIGNING = SigningKey(algorithm=SigningAlgorithm.ED25519, uri="local:a", version=1)
CONTENT = EncryptionKey(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD, uri="local:b", version=1)
IMPORT = ImportKey(uri="local:a", content=b"k", kind=KeyType.AES_128, purpose=KeyPurpose.BOTH, created_by="USER:a")

TO_WORKER = [
    RunJob(job=JOB),
    BuildSecretRecorded(task_id="t1", fencing_token=3),
    SigningPermitted(task_id="t1", fencing_token=3, sha256="00" * 32),
    StopJob(task_id="t1"),
    SignedMessage(body=b"{}", signature=b"s" * 64),
    *(
        KeyRequest(request_id=7, command=command)
        for command in (
            GENERATE,
            IMPORT,
            RotateKey(uri="local:a"),
            ImportCertificate(uri="local:a", version=1, content=b"c"),
            CreateCertificateRequest(uri="local:a", version=1),
            ExportKey(uri="local:a", version=1),
            SignCheckpoint(size=5, root="00" * 32, proof=("11" * 32,)),
            GetSignedCheckpoint(),
            AuditPublicKey(),
            AuditPublicKey(last_note="note"),
            ProbeAuditKey(public_key="PEM"),
            ProbeSigningKey(key=SIGNING, certificate="PEM"),
            ProbeEncryptionKey(key=CONTENT),
        )
    ),
]
FROM_WORKER = [
    WorkerReady(pid=1),
    WorkerStartFailed(error=ERROR),
    Heartbeat(task_id="t1", fencing_token=3, done=10, total=20),
    BuildSecretCreated(task_id="t1", fencing_token=3, secret=SECRET),
    SegmentEncrypted(task_id="t1", fencing_token=3, segment=SEGMENT),
    SigningPermissionRequested(task_id="t1", fencing_token=3, sha256="bb" * 32, header="AAAA"),
    JobFinished(task_id="t1", fencing_token=3, sha256="cc" * 32, size=100, signature="AAAA"),
    JobFailed(task_id="t1", fencing_token=3, error=ERROR),
    JobStopped(task_id="t1", fencing_token=3),
    KeyResponse(request_id=7, key=KEY, version=VERSION, text="x", error=ERROR),
    OrderRefused(task_id="t1", fencing_token=3, is_running=True, error=ERROR),
    SignedMessage(body=b"{}", signature=b"s" * 64),
]


@pytest.mark.parametrize(
    ("message", "direction"),
    [*((each, ToWorker) for each in TO_WORKER), *((each, FromWorker) for each in FROM_WORKER)],
    ids=lambda each: type(each).__name__,
)
def test_message_round_trips_in_one_line(message: Any, direction: Any) -> None:
    encoded = msgspec.json.encode(message)
    assert b"\n" not in encoded
    assert msgspec.json.decode(encoded, type=direction) == message


def test_examples_cover_all_messages() -> None:
    assert {type(each) for each in TO_WORKER} == set(ToWorker.__args__)
    assert {type(each) for each in FROM_WORKER} == set(FromWorker.__args__)


def test_checkpoint_of_earlier_version_has_no_secret_and_no_macs() -> None:
    text = b'{"taskId":"t1","segments":[{"index":0,"length":48,"sha256":"aa","plaintextSha256":"bb"}],"header":"AAAA"}'
    segment = RecordedSegment(index=0, length=48, sha256="aa", plaintext_sha256="bb")
    assert msgspec.json.decode(text, type=JobCheckpoint) == JobCheckpoint(
        task_id="t1", segments=(segment,), header="AAAA"
    )
