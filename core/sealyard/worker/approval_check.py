"""Checks of approvals and key purposes that the worker performs itself before it uses a key.

The worker does not rely on the engine to have verified the approvals.
"""

from __future__ import annotations

from sealyard.model.algorithms import KeyPurpose
from sealyard.model.approval import approval_digest, has_quorum
from sealyard.model.errors import InvalidKeyError, PermissionDeniedError
from sealyard.model.tasks import Task, TaskKind


def verify_approvals(task: Task) -> None:
    """Raise :class:`PermissionDeniedError` if the approvals are for other contents or do not reach the quorum."""
    if approval_digest(task) != task.approval_digest:
        raise PermissionDeniedError(
            "The approvals do not match the contents of the job.", "Submit the request again as a new task."
        )
    if not has_quorum(task):
        raise PermissionDeniedError(
            "The job does not have enough approvals. Nothing was signed or encrypted.",
            "Get the missing approvals first.",
        )


def check_key_purpose(task: Task, purpose: KeyPurpose | None) -> None:
    """Raise :class:`InvalidKeyError` if the signing key has a purpose that does not fit the task.

    ``purpose`` is that of the signing key according to the key store; None if nothing is signed.
    """
    if task.kind is TaskKind.PACKAGING and purpose is KeyPurpose.DATA:
        raise InvalidKeyError("The signing key is for data, not for packages.", "Use a key with the purpose 'package'.")
    if task.kind is TaskKind.SIGNING and purpose is KeyPurpose.PACKAGE:
        raise InvalidKeyError("The signing key is for packages, not for data.", "Use a key with the purpose 'data'.")
