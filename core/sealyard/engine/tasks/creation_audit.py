"""The audit entry of a new task."""

from __future__ import annotations

from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.tasks import Task


def audit_creation(unit_of_work: UnitOfWork, task: Task) -> None:
    """Add the audit entry of the new task to ``unit_of_work``."""
    unit_of_work.audit(
        task.created_by,
        AuditAction.CREATED,
        f"TASK:{task.id}",
        f"{task.kind} task {task.name!r} for {task.config_name} version {task.config_version}",
        {
            "kind": task.kind.value,
            "configId": task.config_id,
            "configVersion": task.config_version,
            "inputs": [[file.name, file.size, file.sha256] for file in task.inputs],
            "metadata": [[file.name, file.size, file.sha256] for file in task.metadata],
            "contentType": task.content_type,
            "encryptionKey": _describe_key(task.encryption_key),
            "signingKey": _describe_key(task.signing_key),
            "approvalDigest": task.approval_digest,
            "approvalsRequired": task.approvals_required,
            **({"justification": task.justification} if task.justification else {}),
            **({"resubmissionOf": task.resubmission_of} if task.resubmission_of else {}),
        },
    )


def _describe_key(key: EncryptionKey | SigningKey | None) -> dict[str, str | int] | None:
    if key is None:
        return None
    return {"algorithm": key.algorithm.value, "uri": key.uri, "version": key.version, "name": key.name}
