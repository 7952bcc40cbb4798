"""Orders to the worker of a crypto host: signed by the engine, and verified before the worker acts.

An order passes through the bus database and the agent, which can hold it back, repeat it or send it elsewhere. So the
worker verifies not only the signature, but also that the order is for its workspace, newer than what it has seen for
the task, and not executed before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from cachetools import LRUCache

from sealyard.crypto.signed_messages import MessageLabel, verify_message
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import ConflictError, ErrorInfo, IntegrityError
from sealyard.model.signed_message import SignedMessage
from sealyard.model.worker_messages import (
    BuildSecretRecorded,
    KeyRequest,
    OrderRefused,
    RunJob,
    SigningPermitted,
    ToWorker,
)
from sealyard.model.zone_messages import Order, SealedCommand

MAX_REMEMBERED_TASKS = 100_000
"""For how many tasks the worker remembers the highest fencing token. The key holder remembers what was signed."""

WorkerOrder = RunJob | BuildSecretRecorded | SigningPermitted | SealedCommand

_decoder: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


def _get_time() -> datetime:
    return datetime.now(UTC)


class OrderVerifier:
    """Verifies the orders to one worker. ``order_key``: of the engine, Ed25519, raw."""

    def __init__(self, order_key: bytes, workspace_id: str, get_time: Callable[[], datetime] = _get_time) -> None:
        self._order_key = order_key
        self._workspace_id = workspace_id
        self._get_time = get_time
        self._fencing_tokens: LRUCache[str, int] = LRUCache(MAX_REMEMBERED_TASKS)
        """By task id, the highest token of a job that was started."""
        self._executed_commands: dict[bytes, datetime] = {}
        """By the digest of the order, until when it could be repeated."""

    def verify(self, signed: SignedMessage) -> WorkerOrder:
        """Return the order in a signed message, which the worker then executes.

        Raises :class:`IntegrityError` if the engine did not sign it for this workspace, and :class:`ConflictError` if
        it is outdated or was executed before.
        """
        body = verify_message(self._order_key, MessageLabel.ORDER, signed)
        try:
            order = _decoder.decode(body)
        except JSON_ERRORS:
            raise IntegrityError(
                "An order of the engine cannot be read.", "Install the same version on servers and crypto hosts."
            ) from None
        if order.workspace != self._workspace_id:
            raise IntegrityError(
                "An order for another workspace was refused.", "Check which programs can write to the bus database."
            )
        match order.message:
            case RunJob(job=job):
                self._accept_job(job.task.id, job.task.fencing_token)
            case BuildSecretRecorded() | SigningPermitted() as answer:
                if answer.fencing_token < self._fencing_tokens.get(answer.task_id, 0):
                    raise _outdated_error()
            case SealedCommand(not_after=not_after):
                self._accept_command(hashlib.sha256(body).digest(), not_after)
        return order.message

    def _accept_job(self, task_id: str, fencing_token: int) -> None:
        if fencing_token <= self._fencing_tokens.get(task_id, 0):
            raise _outdated_error()
        self._fencing_tokens[task_id] = fencing_token

    def _accept_command(self, digest: bytes, not_after: datetime) -> None:
        now = self._get_time()
        if now > not_after:
            raise ConflictError(
                f"A key command that was valid until {not_after:%Y-%m-%d %H:%M:%S} UTC was refused.",
                "Compare the clocks of the server and the crypto host, then try again.",
            )
        self._executed_commands = {key: until for key, until in self._executed_commands.items() if until >= now}
        if digest in self._executed_commands:
            raise ConflictError("A key command that was executed before was refused.", "Try again.")
        self._executed_commands[digest] = not_after


def create_refusal(message: ToWorker, error: ErrorInfo, running_jobs: dict[str, int]) -> OrderRefused:
    """Return the answer to a message that the worker has refused. ``running_jobs``: fencing tokens by task id.

    It names the job or command of the message, also if the signature is not valid.
    """
    order = _read_order(message) if isinstance(message, SignedMessage) else message
    match order:
        case RunJob(job=job):
            task_id, fencing_token = job.task.id, job.task.fencing_token
        case BuildSecretRecorded() | SigningPermitted():
            task_id, fencing_token = order.task_id, order.fencing_token
        case SealedCommand(request_id=request_id) | KeyRequest(request_id=request_id):
            return OrderRefused(request_id=request_id, error=error)
        case _:
            return OrderRefused(error=error)
    is_running = running_jobs.get(task_id) == fencing_token
    return OrderRefused(task_id=task_id, fencing_token=fencing_token, is_running=is_running, error=error)


def _read_order(signed: SignedMessage) -> WorkerOrder | None:
    try:
        return _decoder.decode(signed.body).message
    except JSON_ERRORS:
        return None


def _outdated_error() -> ConflictError:
    return ConflictError(
        "An outdated order for a task was refused.", "If this repeats, check which programs can write to the bus."
    )
