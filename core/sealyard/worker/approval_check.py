"""The check of approvals that the worker performs itself before it uses a key.

The worker does not rely on the engine to have verified the approvals.
"""

from __future__ import annotations

from sealyard.model.approval import approval_digest, has_quorum
from sealyard.model.errors import PermissionDeniedError
from sealyard.model.tasks import Task


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
