"""The check whether the people involved in a task still have the permissions that it needs."""

from __future__ import annotations

from sealyard.engine.state.permissions import Permissions
from sealyard.model.access import Action, device_resource
from sealyard.model.approval import valid_approvers
from sealyard.model.tasks import Task
from sealyard.model.triggers import PermissionRevoked


def find_revoked_permission(permissions: Permissions, task: Task) -> PermissionRevoked | None:
    """Return a trigger if a permission that the task needs has been revoked, otherwise None.

    Permissions that cannot be read count as revoked.
    """
    resource = device_resource(task.config_id)
    if not permissions.is_allowed(task.created_by, Action.USE, resource):
        return PermissionRevoked(reason=f"{task.created_by} no longer has permission to use {task.config_name}.")
    approvers = valid_approvers(task, task.approvals)
    allowed_approvers = [
        approver for approver in approvers if permissions.is_allowed(approver, Action.APPROVE, resource)
    ]
    if len(allowed_approvers) < task.approvals_required:
        return PermissionRevoked(reason="Too few of the approvers still have permission to approve.")
    return None
