"""What the worker checks for itself before a key is touched: it never takes the engine's word for an approval."""

from __future__ import annotations

from sealyard.model.algorithms import KeyPurpose
from sealyard.model.approval import approval_digest, has_quorum
from sealyard.model.errors import InvalidKeyError, PermissionDeniedError
from sealyard.model.tasks import Task, TaskKind


def verify_approvals(task: Task) -> None:
    """Raises :class:`PermissionDeniedError` where the approvals do not carry."""
    if approval_digest(task) != task.approval_digest:
        raise PermissionDeniedError(
            "The approvals were given for other contents than the job has.", "Ask again with a new task."
        )
    if not has_quorum(task):
        raise PermissionDeniedError("The job lacks approvals.", "Nothing was signed or encrypted.")


def check_key_purpose(task: Task, purpose: KeyPurpose | None) -> None:
    """``purpose``: of the signing key, as the key store has it; None where nothing is signed.

    Raises :class:`InvalidKeyError` where the key is for something else.
    """
    if task.kind is TaskKind.PACKAGING and purpose is KeyPurpose.DATA:
        raise InvalidKeyError("The signing key is for data, not for packages.", "Use a key made for packages.")
    if task.kind is TaskKind.SIGNING and purpose is KeyPurpose.PACKAGE:
        raise InvalidKeyError("The signing key is for packages, not for data.", "Use a key made for data.")
