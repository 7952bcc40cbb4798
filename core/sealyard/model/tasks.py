"""Tasks: their inputs, decisions, status and results."""

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

RESUBMITTABLE_STATUSES = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED})
"""The statuses of tasks that can be submitted again as a new task."""

REJECTED_CODE = "rejected"
"""The :attr:`Task.reason_code` of a task that an approver rejected."""

WITHDRAWN_CODE = "withdrawn"
"""The :attr:`Task.reason_code` of a task that its requester withdrew."""


class DetailedStatus(StrEnum):
    """The status of a task as people see it: like :class:`TaskStatus`, but says how a CANCELLED task was ended.

    A task that was cancelled in another way, for example because its approval period expired, stays CANCELLED.
    """

    CREATED = "CREATED"
    WAITING = "WAITING"
    APPROVED = "APPROVED"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


CODES_BY_DETAILED_STATUS = {
    DetailedStatus.REJECTED: REJECTED_CODE,
    DetailedStatus.WITHDRAWN: WITHDRAWN_CODE,
}
"""The :attr:`Task.reason_code` of each detailed status that is CANCELLED in :class:`TaskStatus`."""

_DETAILED_STATUSES_BY_CODE = {code: status for status, code in CODES_BY_DETAILED_STATUS.items()}
_DETAILED_STATUSES = {status: DetailedStatus(status.value) for status in TaskStatus}


def find_detailed_status(status: TaskStatus, reason_code: str) -> DetailedStatus:
    """Return the detailed status of a task with this status and :attr:`Task.reason_code`."""
    if status is TaskStatus.CANCELLED:
        return _DETAILED_STATUSES_BY_CODE.get(reason_code, DetailedStatus.CANCELLED)
    return _DETAILED_STATUSES[status]


class InputFile(FrozenStruct, frozen=True, kw_only=True):
    """An input file: ``name`` as submitted (untrusted text), ``size`` in bytes, ``sha256`` in hex.

    ``inline``: the content of a small signing input, in Base64. All other inputs are stored as artifacts, under their
    digests.
    """

    name: str
    size: int
    sha256: str
    inline: str | None = None


class Verdict(StrEnum):
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class DecisionOrigin(StrEnum):
    """How a decision was made: by a person at a terminal, or by a machine client, even one that acts for a person."""

    TERMINAL = "terminal"
    MACHINE = "machine"


class Decision(FrozenStruct, frozen=True, kw_only=True):
    """A person's decision, bound to the content of the task by ``digest`` (see :mod:`sealyard.model.approval`).

    ``origin``: None in old decisions, made before Sealyard recorded origins. ``one_time_password``: whether a one-time
    password was required and verified.
    """

    by: str
    verdict: Verdict
    at: datetime
    digest: str
    reason: str = ""
    origin: DecisionOrigin | None = None
    one_time_password: bool = False


class RevokedApproval(FrozenStruct, frozen=True, kw_only=True):
    """An approval that no longer counts, because its approver lost the permission to approve while the task waited.

    ``decision``: position of the approval in :attr:`Task.approvals`, from 0.
    """

    decision: int
    at: datetime
    reason: str


class Subtask(FrozenStruct, frozen=True, kw_only=True):
    """A step of a packaging task: the encryption of one firmware file, or the signing. Stored as part of the task."""

    id: str
    kind: TaskKind
    status: TaskStatus
    name: str


class StatusChange(FrozenStruct, frozen=True, kw_only=True):
    status: TaskStatus
    at: datetime
    note: str = ""


class Intent(FrozenStruct, frozen=True, kw_only=True):
    """The record, stored before the key is used, of what a worker is about to sign.

    ``sha256`` (hex): digest of the bytes to sign. ``fencing_token``: the token of the worker's lease.
    """

    sha256: str
    fencing_token: int
    at: datetime


class ResultState(StrEnum):
    AVAILABLE = "AVAILABLE"
    EXPIRED = "EXPIRED"
    GONE = "GONE"


class Result(FrozenStruct, frozen=True, kw_only=True):
    """The result of a DONE task: an artifact behind a link that expires, or a ``signature`` (Base64).

    ``expires_at``: when the link expires. ``retained_until``: when the artifact is removed. ``sha256`` (hex) and
    ``size`` (bytes) describe the artifact. ``self_approved``: produced while self-approval was allowed; must not be
    released.
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
    """The progress of an unfinished task, in bytes and seconds. Known only to the running engine; never stored."""

    bytes_done: int = 0
    bytes_total: int = 0
    queue_position: int | None = None
    eta_seconds: float | None = None


class Task(FrozenStruct, frozen=True, kw_only=True):
    """A packaging, encryption or signing task. Only :mod:`sealyard.model.lifecycle` changes its status.

    ``reminder_at`` and ``escalation_at``: when approvers are reminded of the waiting task, and when administrators are
    notified of it; None once that has happened. ``justification``: why the requester needs the task (untrusted text).
    ``resubmission_of``: the id of the rejected, cancelled or failed task that this one replaces. Neither is part of the
    approval digest, whose fields are fixed, but they never change (see :mod:`sealyard.model.task_invariants`).
    """

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
    justification: str = ""
    resubmission_of: str | None = None

    approvals_required: int = 0
    approval_digest: str = ""
    approvals: tuple[Decision, ...] = ()
    revoked_approvals: tuple[RevokedApproval, ...] = ()
    approval_expires_at: datetime | None = None
    reminder_at: datetime | None = None
    escalation_at: datetime | None = None
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
        """The total size of the inputs, in bytes."""
        return sum(file.size for file in self.inputs)

    @property
    def detailed_status(self) -> DetailedStatus:
        return find_detailed_status(self.status, self.reason_code)

    def revocation_of(self, decision: int) -> RevokedApproval | None:
        """Return the revocation of the decision at this position in :attr:`approvals`, or None if it still counts."""
        return next((revoked for revoked in self.revoked_approvals if revoked.decision == decision), None)
