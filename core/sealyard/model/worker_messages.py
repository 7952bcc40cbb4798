"""Messages between the engine and a crypto worker: plain values, each encoded as one line of JSON.

The engine sends jobs and commands. The worker opens the keys, checks the approvals itself, and reports its progress
and results. Keys pass through the pipe only when they are imported or exported, and the master key never; see
:mod:`sealyard.model.key_holder_messages`. The messages with secrets are subclasses of :class:`SecretStruct`.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.algorithms import KeyType
from sealyard.model.backend_keys import DescribedKey, ProviderKeys, ProviderStatus
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.errors import ErrorInfo
from sealyard.model.key_commands import KeyCommand
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
    """Sent by the bus, not by a worker: the worker died or stopped sending heartbeats, or its host abandoned the job.

    ``task_id``: the task that the worker had leased. ``reason``: the error of the host. ``is_interrupted``: whether
    the host was shut down or disconnected, which does not count as a lost lease.
    """

    worker: str
    task_id: str
    fencing_token: int
    at: datetime
    reason: str = ""
    is_interrupted: bool = False
