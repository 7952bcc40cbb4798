"""Instructions of the engine to the agents of a zone, signed with its order key."""

from __future__ import annotations

from sealyard.jobs.zone.codec import sign_instruction, sign_order
from sealyard.jobs.zone.queue import command_task_of, host_channel_of
from sealyard.jobs.zone.writer import BusWriter
from sealyard.model.worker_messages import BuildSecretRecorded, RunJob, SigningPermitted
from sealyard.model.zone_messages import (
    AbortJob,
    Drain,
    ForwardOrder,
    Instruction,
    IssueGrants,
    Order,
    RunCommand,
    SealedCommand,
    SignedMessage,
    StartJob,
)

JobInstruction = StartJob | ForwardOrder | IssueGrants | AbortJob


class InstructionSender:
    """Signs instructions and queues them in the order of the calls. ``order_key``: raw Ed25519 private key."""

    def __init__(self, writer: BusWriter, workspace_id: str, order_key: bytes) -> None:
        self._writer = writer
        self._workspace_id = workspace_id
        self._order_key = order_key

    def sign(self, message: RunJob | BuildSecretRecorded | SigningPermitted | SealedCommand) -> SignedMessage:
        """Sign an order for a worker."""
        return sign_order(self._order_key, Order(workspace=self._workspace_id, message=message))

    def send(self, host: str, message: JobInstruction, *, is_kept: bool = False) -> None:
        """Send an instruction about a job.

        ``is_kept``: whether the instruction remains when the job ends, until the agent is gone.
        """
        self._insert(host, "" if is_kept else message.task_id, message)

    def send_command(self, message: RunCommand) -> None:
        """Send a key command to the agent that takes it from the queue."""
        self._insert("", command_task_of(message.request_id), message)

    def drain(self, host: str) -> None:
        self._insert(host, "", Drain())

    def _insert(self, host: str, task: str, message: JobInstruction | RunCommand | Drain) -> None:
        instruction = Instruction(workspace=self._workspace_id, host=host, message=message)
        signed = sign_instruction(self._order_key, instruction)
        channel = host_channel_of(host) if host else ""
        self._writer.insert_instruction(host, task, signed.body, signed.signature, channel)
