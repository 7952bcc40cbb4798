"""The worker state: what was signed, and the last signed checkpoint of the audit log.

Only the key holder writes it. It is consulted before every signature, whatever the engine says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sealyard.audit.merkle import EMPTY_ROOT, verify_consistency
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError, ConflictError, SealyardError, WorkerStateError
from sealyard.model.key_holder_messages import StoreGeneration, WorkerStateInfo


class Intent(FrozenStruct, frozen=True, kw_only=True):
    """What a worker is about to sign for a task: the SHA-256 (hex) of the signed input."""

    task_id: str
    fencing_token: int
    sha256: str


class SignedCheckpoint(FrozenStruct, frozen=True, kw_only=True):
    """A checkpoint of the audit log that a worker has signed, or was permitted to sign. ``root``: hex."""

    size: int
    root: str


class WorkerState(Protocol):
    """Stores the worker state. Used by one thread at a time; a call returns when its records are durable."""

    @property
    def info(self) -> WorkerStateInfo: ...

    def record_intents(self, intents: Sequence[Intent]) -> list[SealyardError | None]:
        """Record intents, together in one durable write. Returns, for each, the error that refuses it or None.

        Intents for other bytes than those of an earlier intent of the task are refused, and intents whose fencing token
        is not higher than the highest of the task; see :func:`check_intent`. Raises a :class:`SealyardError` if
        nothing could be recorded.
        """
        ...

    def record_checkpoint(self, checkpoint: SignedCheckpoint, proof: Sequence[bytes]) -> None:
        """Record a checkpoint that is about to be signed.

        Raises :class:`AuditVerificationError` if ``proof`` does not show that the checkpoint extends the last one.
        """
        ...

    @property
    def store_generation(self) -> StoreGeneration | None:
        """The recorded generation of the store; None before the first one."""
        ...

    def record_store_generation(self, generation: StoreGeneration) -> None:
        """Record the generation that the store uses from now on.

        Raises :class:`WorkerStateError` if it is older than the recorded one, or another one with the same number.
        """
        ...

    def record_audited(self) -> None:
        """Record that the audit log has an entry for each event of the state that needs one."""
        ...

    @property
    def flush_delay(self) -> float | None:
        """Seconds until :meth:`flush` should be called, None if it has nothing to do."""
        ...

    def flush(self) -> None:
        """Write what was deferred to limit the number of writes. Raises a :class:`SealyardError` if this fails."""
        ...

    def close(self) -> None: ...


def check_intent(intent: Intent, latest: Intent | None) -> None:
    """Check an intent against the latest one of its task.

    A task is never signed over two different inputs. Each attempt has a higher fencing token, so an equal one belongs
    to a job that was sent twice. A later attempt may sign the same bytes again, if the first signature was lost.

    Raises :class:`ConflictError` if the intent is refused.
    """
    if latest is None:
        return
    if intent.sha256 != latest.sha256:
        raise ConflictError(
            f"Different data was already signed for task {intent.task_id}. Nothing was signed.",
            "Submit the request again as a new task.",
        )
    if intent.fencing_token <= latest.fencing_token:
        raise ConflictError(
            f"A job of task {intent.task_id} was sent again after it had signed. Nothing was signed.",
            "Check whether the store of the workspace was replaced by an older copy.",
        )


def check_checkpoint(checkpoint: SignedCheckpoint, last: SignedCheckpoint | None, proof: Sequence[bytes]) -> bool:
    """Return whether the checkpoint has to be recorded; it does not if it is the last one.

    Raises :class:`AuditVerificationError` if it does not extend the last signed one.
    """
    if checkpoint == last:
        return False
    if last is None and checkpoint.size == 0 and checkpoint.root == EMPTY_ROOT.hex():
        return False  # the first checkpoint of a new workspace, which every later one extends
    if checkpoint.size <= 0:
        raise AuditVerificationError("The audit log is not empty any more. Nothing was signed.")
    if last is None:
        return True
    try:
        old_root, root = bytes.fromhex(last.root), bytes.fromhex(checkpoint.root)
        verify_consistency(last.size, old_root, checkpoint.size, root, proof)
    except (ValueError, AuditVerificationError) as error:
        raise AuditVerificationError(
            f"The checkpoint of size {checkpoint.size} does not extend the last signed one, of size {last.size}:"
            f" {error} Nothing was signed.",
            "The audit log was changed or replaced. Keep the folder for an investigation, and restore a backup.",
        ) from None
    return True


def check_store_generation(generation: StoreGeneration, recorded: StoreGeneration | None) -> bool:
    """Return whether the generation has to be recorded; it does not if it is the recorded one.

    Raises :class:`WorkerStateError` if it does not follow the recorded one.
    """
    if generation == recorded:
        return False
    if recorded is not None and generation.number != recorded.number + 1:
        raise WorkerStateError(
            f"Generation {generation.number} of the store does not follow the recorded one, {recorded.number}.",
            "Close all processes that use the workspace, then open it again.",
        )
    return True
