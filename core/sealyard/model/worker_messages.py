"""Messages between the engine and a crypto worker: plain values, each encoded as one line of JSON.

The engine sends jobs and commands. The worker opens the keys, checks the approvals itself, and reports its progress
and results. Keys pass through the pipe only when they are imported or exported, and the master key never; see
:mod:`sealyard.model.key_holder_messages`. The messages with secrets are subclasses of :class:`SecretStruct`.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.backend_keys import DescribedKey, ProviderKeys, ProviderStatus
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import ErrorInfo
from sealyard.model.key_holder_messages import WorkerStateInfo
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.signed_message import SignedMessage
from sealyard.model.tasks import Task


class EncryptedSegment(FrozenStruct, frozen=True, kw_only=True):
    """An encrypted segment as stored in the container. ``length`` and ``sha256`` (hex) include the IV."""

    index: int
    length: int
    sha256: str


class RecordedSegment(EncryptedSegment, frozen=True, kw_only=True):
    """An encrypted segment, and the SHA-256 (hex) of the plaintext that the worker encrypted.

    ``mac`` (hex): shows the next worker that a worker with the build secret of the task made the record.
    """

    plaintext_sha256: str
    mac: str = ""


class JobCheckpoint(FrozenStruct, frozen=True, kw_only=True):
    """The durable progress of a task, from which the next attempt resumes.

    It grows in this order: the build secret, the segments, the header (Base64). Earlier versions recorded no build
    secret.
    """

    task_id: str
    build_secret: WrappedBuildSecret | None = None
    segments: tuple[RecordedSegment, ...] = ()
    header: str | None = None


class Job(FrozenStruct, frozen=True, kw_only=True):
    """A task for a worker, with everything the worker needs to check it.

    The task contains the digests of the inputs, the names of the keys, and the approval decisions. ``checkpoint`` is
    the progress of earlier attempts. ``certificate`` (PEM) and ``signing_kind`` are those that the workspace records
    for the signing key: the worker verifies its result against them, not against the key that it has just used.
    """

    task: Task
    checkpoint: JobCheckpoint
    certificate: str | None = None
    signing_kind: KeyType | None = None


# ---- messages from the engine to a worker


class RunJob(FrozenStruct, frozen=True, kw_only=True, tag=True):
    job: Job


class BuildSecretRecorded(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Permits the worker to use the build secret that it has sent: it is recorded durably."""

    task_id: str
    fencing_token: int


class SigningPermitted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Permits the worker to use the signing key: the intent is recorded, and permissions were checked again.

    ``sha256`` (hex): the digest of the bytes for which the intent is recorded.
    """

    task_id: str
    fencing_token: int
    sha256: str


class StopJob(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Instructs the worker to stop the job. The worker answers with :class:`JobStopped`."""

    task_id: str


class GenerateKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Generates a key. ``wrapping_key``: the URI of the key that wraps a local symmetric key, or empty."""

    uri: str
    kind: KeyType
    purpose: KeyPurpose
    subject: str
    created_by: str
    wrapping_key: str = ""


class DescribeKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the description of a key in a token or key service. The response has it in ``described``."""

    uri: str


class RegisterKey(SecretStruct, frozen=True, kw_only=True, tag=True):
    """Registers a key that its token or key service has already. The response names it by its canonical URI.

    ``certificate``: the content of a file with the certificate of its current version.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri",)

    uri: str
    kind: KeyType
    purpose: KeyPurpose
    created_by: str
    certificate: bytes | None = None


class ListBackendKeys(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the keys that can be registered: those of a section of the worker settings, or of all of them.

    The response has them in ``provider_keys``.
    """

    section: str = ""


class ProbeProviders(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests the providers of all sections of the worker settings. The response has the results in ``providers``."""


class ImportKey(SecretStruct, frozen=True, kw_only=True, tag=True):
    """Imports a key from the contents of a key file and, optionally, of a certificate file.

    ``wrapping_key``: as for :class:`GenerateKey`.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri",)

    uri: str
    content: bytes
    kind: KeyType
    purpose: KeyPurpose
    created_by: str
    password: str | None = None
    certificate: bytes | None = None
    wrapping_key: str = ""


class RotateKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    uri: str


class ImportCertificate(SecretStruct, frozen=True, kw_only=True, tag=True):
    """Creates a key version with the private key of ``version`` and a certificate from the content of a file."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri", "version")

    uri: str
    version: int
    content: bytes


class CreateCertificateRequest(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests a PKCS#10 certificate request (PEM) for a signing key."""

    uri: str
    version: int


class ExportKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the bytes of a symmetric key, to provision devices."""

    uri: str
    version: int


class SignCheckpoint(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests a signed note for the audit log with ``size`` entries and the root hash ``root`` (hex).

    ``proof``: RFC 6962 consistency proof (hex) from the last signed checkpoint; see :class:`GetSignedCheckpoint`.
    """

    size: int
    root: str
    proof: tuple[str, ...] = ()


class GetSignedCheckpoint(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the last signed checkpoint according to the worker state. The response has it in ``state``."""


class ConfirmAudited(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Confirms that the audit log has an entry for each of the unaudited events in :class:`GetSignedCheckpoint`."""


class AuditPublicKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the public audit key. The worker creates the audit key if there is none yet.

    ``last_note``: the newest checkpoint of the audit log; the worker reports an error if the audit key did not sign it.
    """

    last_note: str | None = None


class ProbeSigningKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests a signing key: the worker signs a message that it creates itself and verifies the signature.

    ``certificate`` (PEM) is the recorded certificate, which verifies the signature. The signature never leaves the
    worker; the response is empty.
    """

    key: SigningKey
    certificate: str


class ProbeEncryptionKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests an encryption key: the worker encrypts a block and decrypts it again. The response is empty."""

    key: EncryptionKey


class ProbeAuditKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests the audit key like :class:`ProbeSigningKey`. ``public_key`` (PEM) verifies the signature."""

    public_key: str


ProviderCommand = (
    GenerateKey
    | DescribeKey
    | RegisterKey
    | ImportKey
    | RotateKey
    | ImportCertificate
    | CreateCertificateRequest
    | ExportKey
    | ListBackendKeys
    | ProbeProviders
    | ProbeSigningKey
    | ProbeEncryptionKey
    | ProbeAuditKey
)
"""Commands that use a key provider, which can take long."""

AuditCommand = SignCheckpoint | GetSignedCheckpoint | ConfirmAudited | AuditPublicKey

KeyCommand = ProviderCommand | AuditCommand


class KeyRequest(FrozenStruct, frozen=True, kw_only=True, tag=True):
    request_id: int
    command: KeyCommand


ToWorker = RunJob | BuildSecretRecorded | SigningPermitted | StopJob | KeyRequest | SignedMessage
"""A worker of a crypto host accepts only :class:`SignedMessage`, with an order, and :class:`StopJob`."""


# ---- messages from a worker to the engine


class RefusedMeasure(FrozenStruct, frozen=True, kw_only=True):
    """A measure of the worker's confinement that the kernel refused, and the kernel's reason."""

    name: str
    reason: str


class WorkerReady(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The worker has opened the key store and is confined, except for the ``refused`` measures."""

    pid: int
    refused: tuple[RefusedMeasure, ...] = ()


class WorkerStartFailed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    error: ErrorInfo


class Heartbeat(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Renews the lease and reports the progress. Sent at least every second while a job runs.

    ``done`` and ``total``: bytes, counted over all passes.
    """

    task_id: str
    fencing_token: int
    done: int
    total: int


class BuildSecretCreated(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The worker has created a build secret, and waits for :class:`BuildSecretRecorded` before it uses the secret.

    The engine replaces the checkpoint of the task, because what was recorded before does not belong to this secret.
    """

    task_id: str
    fencing_token: int
    secret: WrappedBuildSecret


class SegmentEncrypted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    task_id: str
    fencing_token: int
    segment: RecordedSegment


class SigningPermissionRequested(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The worker is about to sign bytes with this SHA-256 (hex) and waits for :class:`SigningPermitted`."""

    task_id: str
    fencing_token: int
    sha256: str
    header: str | None = None


class JobFinished(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The job is complete and its result has passed the worker's own check.

    ``signature``: Base64, for signing tasks only.
    """

    task_id: str
    fencing_token: int
    sha256: str | None = None
    size: int | None = None
    signature: str | None = None


class JobFailed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    task_id: str
    fencing_token: int
    error: ErrorInfo


class JobStopped(FrozenStruct, frozen=True, kw_only=True, tag=True):
    task_id: str
    fencing_token: int


class KeyResponse(SecretStruct, frozen=True, kw_only=True, tag=True):
    """The answer to a :class:`KeyRequest`: the requested value, if the command has one, or ``error``.

    ``secret``: the bytes of an exported symmetric key.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("request_id", "key", "version", "text", "error")

    request_id: int
    key: KeyInfo | None = None
    version: KeyVersion | None = None
    text: str | None = None
    secret: bytes | None = None
    state: WorkerStateInfo | None = None
    described: DescribedKey | None = None
    provider_keys: tuple[ProviderKeys, ...] | None = None
    providers: tuple[ProviderStatus, ...] | None = None
    error: ErrorInfo | None = None


class OrderRefused(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The worker of a crypto host has refused an order. Not signed, because the order may come from anyone.

    Either ``task_id`` or ``request_id`` identifies the order, if it can be read. ``is_running``: whether the worker
    runs this job, and continues it.
    """

    task_id: str = ""
    fencing_token: int = 0
    request_id: int = 0
    is_running: bool = False
    error: ErrorInfo


FromWorker = (
    WorkerReady
    | WorkerStartFailed
    | Heartbeat
    | BuildSecretCreated
    | SegmentEncrypted
    | SigningPermissionRequested
    | JobFinished
    | JobFailed
    | JobStopped
    | KeyResponse
    | OrderRefused
    | SignedMessage
)
"""A worker of a crypto host sends its reports and responses as :class:`SignedMessage`."""


class WorkerLost(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Sent by the bus, not by a worker: the worker died or stopped sending heartbeats.

    ``task_id``: the task that the worker had leased.
    """

    worker: str
    task_id: str
    fencing_token: int
    at: datetime
