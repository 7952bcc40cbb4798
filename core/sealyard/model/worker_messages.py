"""What the engine and a crypto worker say to each other: plain values, one JSON line each.

The engine says *what*; the worker opens the keys, checks the approvals itself, and reports. Nothing here holds
a key or, but for :class:`OpenKeyStore`, a passphrase.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import ErrorInfo
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.tasks import Task


class SealedSegment(FrozenStruct, frozen=True, kw_only=True):
    """One encrypted segment as it lies in the container; ``length`` and ``sha256`` (hex) count the IV."""

    index: int
    length: int
    sha256: str


class RecordedSegment(SealedSegment, frozen=True, kw_only=True):
    """A segment with the SHA-256 (hex) of the plaintext that the worker read for it."""

    plaintext_sha256: str


class JobCheckpoint(FrozenStruct, frozen=True, kw_only=True):
    """How far a task's work has come, durably, so that a rerun takes it up: segments, then the header (Base64)."""

    task_id: str
    segments: tuple[RecordedSegment, ...] = ()
    header: str | None = None


class Job(FrozenStruct, frozen=True, kw_only=True):
    """A task for a worker, with all it needs to judge it: inputs by digest, keys by name, the decisions made.

    ``certificate`` (PEM) and ``signing_kind`` are what the workspace has on record for the signing key: the worker
    checks its own outcome against them, not against what it just used.
    """

    task: Task
    work: JobCheckpoint
    certificate: str | None = None
    signing_kind: KeyType | None = None


# ---- engine to worker


class OpenKeyStore(SecretStruct, frozen=True, kw_only=True, tag=True):
    """The first line a worker gets: where the workspace is and how its key store opens."""

    SHOWN: ClassVar[tuple[str, ...]] = ("workspace", "key_store")

    workspace: str
    workspace_id: str
    key_store: str
    passphrase: str | None = None
    create: bool = False


class RunJob(FrozenStruct, frozen=True, kw_only=True, tag=True):
    job: Job


class SigningPermitted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The intent is recorded and rights were judged again: the key may be used."""

    task_id: str
    fencing_token: int


class StopJob(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Leave the task; answer with :class:`JobStopped`."""

    task_id: str


class GenerateKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    uri: str
    kind: KeyType
    purpose: KeyPurpose
    subject: str
    created_by: str


class ImportKey(SecretStruct, frozen=True, kw_only=True, tag=True):
    """The worker opens the file; the password, if any, crosses the pipe only."""

    SHOWN: ClassVar[tuple[str, ...]] = ("uri", "path")

    uri: str
    path: str
    kind: KeyType
    purpose: KeyPurpose
    created_by: str
    password: str | None = None
    certificate: str | None = None


class RotateKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    uri: str


class ExportKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A symmetric key's bytes into a new file of mode 0600: they never cross the pipe."""

    uri: str
    version: int
    path: str


class SignCheckpoint(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A signed note over an audit tree head; ``root`` in hex."""

    size: int
    root: str


class AuditPublicKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Makes the audit key if there is none."""


class ProbeSigningKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The worker signs a message of its own making and checks it with ``certificate`` (PEM), the one on record.

    The signature stays there; the answer is empty.
    """

    key: SigningKey
    certificate: str


class ProbeEncryptionKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The worker encrypts a block and decrypts it again; the answer is empty."""

    key: EncryptionKey


KeyCommand = (
    GenerateKey
    | ImportKey
    | RotateKey
    | ExportKey
    | SignCheckpoint
    | AuditPublicKey
    | ProbeSigningKey
    | ProbeEncryptionKey
)


class KeyRequest(FrozenStruct, frozen=True, kw_only=True, tag=True):
    request_id: int
    question: KeyCommand


ToWorker = OpenKeyStore | RunJob | SigningPermitted | StopJob | KeyRequest


# ---- worker to engine


class WorkerReady(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The key store is open."""

    pid: int


class WorkerStartFailed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    error: ErrorInfo


class Heartbeat(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Sent every second while a job runs: holds the lease and carries the progress, in bytes of all passes."""

    task_id: str
    fencing_token: int
    done: int
    total: int


class SegmentEncrypted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    task_id: str
    fencing_token: int
    segment: RecordedSegment


class SigningPermissionRequested(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The worker is about to use the key over bytes with this SHA-256 (hex); waits for :class:`SigningPermitted`."""

    task_id: str
    fencing_token: int
    sha256: str
    header: str | None = None


class JobFinished(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The work is whole and has passed the worker's own check. ``signature`` in Base64, for signing tasks."""

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


class KeyResponse(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """To an :class:`KeyRequest`: what was asked for, if anything, or ``error``."""

    request_id: int
    key: KeyInfo | None = None
    version: KeyVersion | None = None
    text: str | None = None
    error: ErrorInfo | None = None


FromWorker = (
    WorkerReady
    | WorkerStartFailed
    | Heartbeat
    | SegmentEncrypted
    | SigningPermissionRequested
    | JobFinished
    | JobFailed
    | JobStopped
    | KeyResponse
)


class WorkerLost(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Said by the bus, not by a worker: it died or fell silent; ``task_id`` is what it held."""

    worker: str
    task_id: str
    fencing_token: int
    at: datetime
