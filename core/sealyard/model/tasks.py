"""Tasks: what was asked for, what was decided, how it stands, and what came of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import EncryptionKey, SigningKey


class TaskKind(StrEnum):
    PACKAGING = "packaging"
    ENCRYPTION = "encryption"
    SIGNING = "signing"


class TaskStatus(StrEnum):
    CREATED = "CREATED"
    WAITING = "WAITING"
    APPROVED = "APPROVED"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({TaskStatus.DONE, TaskStatus.FAILED, TaskStatus.CANCELLED})


class InputFile(FrozenStruct, frozen=True, kw_only=True):
    """A file as it was handed in: ``name`` as given (foreign text), ``size`` in bytes, ``sha256`` in hex.

    ``inline`` holds the bytes of a small signing input in Base64; all others are kept as artifacts by digest.
    """

    name: str
    size: int
    sha256: str
    inline: str | None = None


class Verdict(StrEnum):
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class DecisionOrigin(StrEnum):
    """Who made a decision: a person at a terminal, or a machine client, under whatever name."""

    TERMINAL = "terminal"
    MACHINE = "machine"


class Decision(FrozenStruct, frozen=True, kw_only=True):
    """One person's decision, bound to what it was made about by ``digest`` (see :mod:`sealyard.model.approval`).

    ``origin``: None in those made before it was recorded. ``one_time_password``: one was asked for, and right.
    """

    by: str
    verdict: Verdict
    at: datetime
    digest: str
    reason: str = ""
    origin: DecisionOrigin | None = None
    one_time_password: bool = False


class Subtask(FrozenStruct, frozen=True, kw_only=True):
    """One encryption (per firmware file) or the signing inside a packaging task; seen under it only."""

    id: str
    kind: TaskKind
    status: TaskStatus
    name: str


class StatusChange(FrozenStruct, frozen=True, kw_only=True):
    status: TaskStatus
    at: datetime
    note: str = ""


class Intent(FrozenStruct, frozen=True, kw_only=True):
    """What is about to be signed (SHA-256 in hex), recorded before the key is used, and under which fence."""

    sha256: str
    fencing_token: int
    at: datetime


class ResultState(StrEnum):
    AVAILABLE = "AVAILABLE"
    EXPIRED = "EXPIRED"
    GONE = "GONE"


class Result(FrozenStruct, frozen=True, kw_only=True):
    """What came of a DONE task: an artifact behind a link with a time limit, or a ``signature`` (Base64).

    ``expires_at``: when the link ends; ``retained_until``: when the artifact is removed. ``sha256`` (hex) and ``size``
    (bytes) are the artifact's. ``trial``: made under the self-approval trial switch, not to be released.
    """

    state: ResultState
    file_name: str = ""
    link: str | None = None
    expires_at: datetime | None = None
    retained_until: datetime | None = None
    sha256: str | None = None
    size: int | None = None
    signature: str | None = None
    self_approved: bool = False


class RunProgress(FrozenStruct, frozen=True, kw_only=True):
    """What only a running engine knows of an unfinished task; never stored. Bytes and seconds."""

    bytes_done: int = 0
    bytes_total: int = 0
    queue_position: int | None = None
    eta_seconds: float | None = None


class Task(FrozenStruct, frozen=True, kw_only=True):
    """A packaging, encryption or signing task. Its status changes through :mod:`sealyard.model.lifecycle` only."""

    id: str
    kind: TaskKind
    status: TaskStatus
    name: str
    config_id: str
    config_name: str
    config_version: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    inputs: tuple[InputFile, ...]
    metadata: tuple[InputFile, ...] = ()
    content_type: str = ""
    format: str = ""
    encryption_key: EncryptionKey | None = None
    signing_key: SigningKey | None = None
    warnings: tuple[str, ...] = ()
    client_token: str | None = None

    approvals_required: int = 0
    approval_digest: str = ""
    approvals: tuple[Decision, ...] = ()
    approval_expires_at: datetime | None = None
    warning: str = ""
    self_approved: bool = False

    subtasks: tuple[Subtask, ...] = ()
    execution_expires_at: datetime | None = None
    time_limit_at: datetime | None = None
    fencing_token: int = 0
    worker: str = ""
    lease_losses: int = 0
    intent: Intent | None = None
    result: Result | None = None
    reason: str = ""
    reason_code: str = ""
    history: tuple[StatusChange, ...] = ()
    live: RunProgress | None = None

    @property
    def total_bytes(self) -> int:
        return sum(each.size for each in self.inputs)
