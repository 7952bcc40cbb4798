"""Messages between the engine, the agents of a crypto zone and their workers, which pass through the bus database.

The engine signs two layers: the instruction for the agent, which contains grants, and in it the order for the worker.
The worker verifies its order itself, and signs its reports: neither an agent nor a user of the bus database can change
or forge them. Key commands and their responses are encrypted as well.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import ErrorInfo
from sealyard.model.grants import InputGrant, ResultContent, ResultGrant
from sealyard.model.key_commands import KeyCommand
from sealyard.model.signed_message import SignedMessage as SignedMessage  # noqa: PLC0414 - re-exported
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    JobFailed,
    JobFinished,
    JobStopped,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
)

# ---- from the engine to a worker, as the body of a SignedMessage


class SealedCommand(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A :class:`CommandContent`, encrypted to the sealing key of the zone (HPKE, RFC 9180).

    ``not_after``: the worker refuses the command later, so that a stolen order cannot be used again.
    """

    request_id: int
    ciphertext: bytes
    not_after: datetime


class CommandContent(SecretStruct, frozen=True, kw_only=True):
    """A key command. ``reply_key``: X25519, raw; the response is encrypted to it."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: int
    command: KeyCommand
    reply_key: bytes


class Order(FrozenStruct, frozen=True, kw_only=True):
    """What a worker verifies before it acts. ``workspace``: the id of the workspace."""

    workspace: str
    message: RunJob | BuildSecretRecorded | SigningPermitted | SealedCommand


# ---- from a worker to the engine, as the body of a SignedMessage


class SealedResponse(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The :class:`~sealyard.model.worker_messages.KeyResponse` to a command, encrypted to its reply key."""

    request_id: int
    ciphertext: bytes


class WorkerReport(FrozenStruct, frozen=True, kw_only=True):
    """A report of a worker. ``workspace``: the id of the workspace."""

    workspace: str
    message: (
        BuildSecretCreated
        | SegmentEncrypted
        | SigningPermissionRequested
        | JobFinished
        | JobFailed
        | JobStopped
        | SealedResponse
    )


# ---- from the engine to an agent, as the body of a SignedMessage


class StartJob(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Starts the job that the agent has claimed. ``order``: a :class:`RunJob` for the worker."""

    task_id: str
    fencing_token: int
    inputs: tuple[InputGrant, ...]
    order: SignedMessage


class ForwardOrder(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Passes a :class:`BuildSecretRecorded` or :class:`SigningPermitted` to the worker of a job."""

    task_id: str
    fencing_token: int
    order: SignedMessage


class IssueGrants(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The answer to :class:`GrantsRequested`."""

    task_id: str
    fencing_token: int
    inputs: tuple[InputGrant, ...] = ()
    result: ResultGrant | None = None


class AbortJob(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Stops a running job, or releases one that the agent has claimed and that is not needed any more.

    ``fencing_token``: that of the job, or the number of the claim. An agent ignores another one, because the
    instruction can arrive after a later claim of the task; 0 stops each job of the task.
    """

    task_id: str
    fencing_token: int = 0


class RunCommand(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A :class:`SealedCommand` for any worker. ``changes_keys``: whether other hosts must copy key files afterwards."""

    request_id: int
    order: SignedMessage
    changes_keys: bool = False


class Drain(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Makes the agent finish its jobs, take no others, and exit."""


class Instruction(FrozenStruct, frozen=True, kw_only=True):
    """An instruction to one agent; ``host`` is empty if it is for the agent that claims its command."""

    workspace: str
    host: str
    message: StartJob | ForwardOrder | IssueGrants | AbortJob | RunCommand | Drain


# ---- from an agent to the engine; not signed: with them, an agent can delay work, but nothing else


class JobClaimed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The agent has reserved a worker for a job. ``number``: as deferred. ``error``: why no worker can be started."""

    task_id: str
    number: int
    error: ErrorInfo | None = None


class GrantsRequested(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests new grants: for inputs (``inputs``: SHA-256, hex) whose grants have expired, or to upload the result."""

    task_id: str
    fencing_token: int
    inputs: tuple[str, ...] = ()
    result: ResultContent | None = None


class JobAbandoned(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The agent cannot continue a job: it cannot copy an input or a result, its disk is full, or it is ending.

    ``is_interrupted``: whether the agent is ending or never started the job, which does not count as a lost lease.
    """

    task_id: str
    fencing_token: int
    error: ErrorInfo
    is_interrupted: bool = False


class CommandFailed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """No worker could execute a key command. The error is not that of the command itself."""

    request_id: int
    error: ErrorInfo


class SignedReport(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A :class:`WorkerReport`, signed with the report key of the zone."""

    report: SignedMessage


AgentReport = JobClaimed | GrantsRequested | JobAbandoned | CommandFailed | SignedReport
"""The body of a row of ``bus.report``."""
