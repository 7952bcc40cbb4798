"""What the worker checks for itself before a key is touched: it never takes the engine's word for an approval."""

from __future__ import annotations

from sealyard.model.algorithms import KeyPurpose
from sealyard.model.approval import approval_digest, quorum_reached
from sealyard.model.errors import KeyRefusedError, NotAllowedError
from sealyard.model.tasks import Task, TaskKind


def judge(task: Task) -> None:
    """Raises :class:`NotAllowedError` where the approvals do not carry."""
    if approval_digest(task) != task.approval_digest:
        raise NotAllowedError(
            "The approvals were given for other contents than the job has.", "Ask again with a new task."
        )
    if not quorum_reached(task):
        raise NotAllowedError("The job lacks approvals.", "Nothing was signed or encrypted.")


def judge_purpose(task: Task, purpose: KeyPurpose | None) -> None:
    """``purpose``: of the signing key, as the key store has it; None where nothing is signed.

    Raises :class:`KeyRefusedError` where the key is for something else.
    """
    if task.kind is TaskKind.PACKAGING and purpose is KeyPurpose.DATA:
        raise KeyRefusedError("The signing key is for data, not for packages.", "Use a key made for packages.")
    if task.kind is TaskKind.SIGNING and purpose is KeyPurpose.PACKAGE:
        raise KeyRefusedError("The signing key is for packages, not for data.", "Use a key made for data.")
