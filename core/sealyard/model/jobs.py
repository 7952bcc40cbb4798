"""What the engine and a crypto worker say to each other: plain values, one JSON line each.

The engine says *what*; the worker opens the keys, checks the approvals itself, and reports. Nothing here holds
a key or, but for :class:`Unlock`, a passphrase.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.algorithms import KeyKind, KeyPurpose
from sealyard.model.devices import EncryptionKey, SigningKey
from sealyard.model.errors import ErrorValue
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.tasks import Task
from sealyard.model.value import SecretValue, Value


class SealedSegment(Value, frozen=True, kw_only=True):
    """One encrypted segment as it lies in the container; ``length`` and ``sha256`` (hex) count the IV."""

    index: int
    length: int
    sha256: str


class RecordedSegment(SealedSegment, frozen=True, kw_only=True):
    """A segment with the SHA-256 (hex) of the plaintext that the worker read for it."""

    plaintext_sha256: str


class Work(Value, frozen=True, kw_only=True):
    """How far a task's work has come, durably, so that a rerun takes it up: segments, then the header (Base64)."""

    task_id: str
    sealed: tuple[RecordedSegment, ...] = ()
    header: str | None = None


class Job(Value, frozen=True, kw_only=True):
    """A task for a worker, with all it needs to judge it: inputs by digest, keys by name, the decisions made.

    ``certificate`` (PEM) and ``signingKind`` are what the workspace has on record for the signing key: the worker
    checks its own outcome against them, not against what it just used.
    """

    task: Task
    work: Work
    certificate: str | None = None
    signing_kind: KeyKind | None = None


# ---- engine to worker


class Unlock(SecretValue, frozen=True, kw_only=True, tag=True):
    """The first line a worker gets: where the workspace is and how its key store opens."""

    SHOWN: ClassVar[tuple[str, ...]] = ("workspace", "key_store")

    workspace: str
    workspace_id: str
    key_store: str
    passphrase: str | None = None
    create: bool = False


class Run(Value, frozen=True, kw_only=True, tag=True):
    job: Job


class Permit(Value, frozen=True, kw_only=True, tag=True):
    """The intent is recorded and rights were judged again: the key may be used."""

    task_id: str
    fence: int


class Stop(Value, frozen=True, kw_only=True, tag=True):
    """Leave the task; answer with :class:`Stopped`."""

    task_id: str


class GenerateKey(Value, frozen=True, kw_only=True, tag=True):
    uri: str
    kind: KeyKind
    purpose: KeyPurpose
    subject: str
    created_by: str


class ImportKey(SecretValue, frozen=True, kw_only=True, tag=True):
    """The worker opens the file; the password, if any, crosses the pipe only."""

    SHOWN: ClassVar[tuple[str, ...]] = ("uri", "path")

    uri: str
    path: str
    kind: KeyKind
    purpose: KeyPurpose
    created_by: str
    password: str | None = None
    certificate: str | None = None


class RotateKey(Value, frozen=True, kw_only=True, tag=True):
    uri: str


class ExportKey(Value, frozen=True, kw_only=True, tag=True):
    """A symmetric key's bytes into a new file of mode 0600: they never cross the pipe."""

    uri: str
    version: int
    path: str


class SignCheckpoint(Value, frozen=True, kw_only=True, tag=True):
    """A signed note over an audit tree head; ``root`` in hex."""

    size: int
    root: str


class AuditPublicKey(Value, frozen=True, kw_only=True, tag=True):
    """Makes the audit key if there is none."""


class ProveSigningKey(Value, frozen=True, kw_only=True, tag=True):
    """The worker signs a message of its own making and checks it with ``certificate`` (PEM), the one on record.

    The signature stays there; the answer is empty.
    """

    key: SigningKey
    certificate: str


class ProveEncryptionKey(Value, frozen=True, kw_only=True, tag=True):
    """The worker encrypts a block and decrypts it again; the answer is empty."""

    key: EncryptionKey


Question = (
    GenerateKey
    | ImportKey
    | RotateKey
    | ExportKey
    | SignCheckpoint
    | AuditPublicKey
    | ProveSigningKey
    | ProveEncryptionKey
)


class Ask(Value, frozen=True, kw_only=True, tag=True):
    number: int
    question: Question


ToWorker = Unlock | Run | Permit | Stop | Ask


# ---- worker to engine


class Ready(Value, frozen=True, kw_only=True, tag=True):
    """The key store is open."""

    pid: int


class NotReady(Value, frozen=True, kw_only=True, tag=True):
    error: ErrorValue


class Beat(Value, frozen=True, kw_only=True, tag=True):
    """Sent every second while a job runs: holds the lease and carries the progress, in bytes of all passes."""

    task_id: str
    fence: int
    done: int
    total: int


class Sealed(Value, frozen=True, kw_only=True, tag=True):
    task_id: str
    fence: int
    segment: RecordedSegment


class IntentAsked(Value, frozen=True, kw_only=True, tag=True):
    """The worker is about to use the key over bytes with this SHA-256 (hex); waits for :class:`Permit`."""

    task_id: str
    fence: int
    sha256: str
    header: str | None = None


class Finished(Value, frozen=True, kw_only=True, tag=True):
    """The work is whole and has passed the worker's own check. ``signature`` in Base64, for signing tasks."""

    task_id: str
    fence: int
    sha256: str | None = None
    size: int | None = None
    signature: str | None = None


class Broken(Value, frozen=True, kw_only=True, tag=True):
    task_id: str
    fence: int
    error: ErrorValue


class Stopped(Value, frozen=True, kw_only=True, tag=True):
    task_id: str
    fence: int


class Answer(Value, frozen=True, kw_only=True, tag=True):
    """To an :class:`Ask`: what was asked for, if anything, or ``error``."""

    number: int
    key: KeyInfo | None = None
    version: KeyVersion | None = None
    text: str | None = None
    error: ErrorValue | None = None


FromWorker = Ready | NotReady | Beat | Sealed | IntentAsked | Finished | Broken | Stopped | Answer


class WorkerLost(Value, frozen=True, kw_only=True, tag=True):
    """Said by the bus, not by a worker: it died or fell silent; ``task_id`` is what it held."""

    worker: str
    task_id: str
    fence: int
    at: datetime
