"""Dual control: the digest that binds an approval to a task, who may decide on it, and the quorum. Performs no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from sealyard.model.access import SubjectKind, subject_kind
from sealyard.model.canonical_json import canonical_json
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.tasks import Decision, Task, TaskStatus, Verdict

DIGEST_DOMAIN = "sealyard approval v1"


def approval_digest(task: Task) -> str:
    """Return the SHA-256 (hex) over the canonical JSON (RFC 8785) of everything that a decision approves or rejects.

    The digest covers a fixed label, the task id, kind, requester, name, content type, inputs and metadata (names, sizes
    and digests, in order), configuration id and version, keys, format and the number of required approvals. If one of
    them changes, earlier approvals do not count.
    """
    content = {
        "label": DIGEST_DOMAIN,
        "task": task.id,
        "kind": task.kind.value,
        "requestedBy": task.created_by,
        "name": task.name,
        "contentType": task.content_type,
        "inputs": [[file.name, file.size, file.sha256] for file in task.inputs],
        "metadata": [[file.name, file.size, file.sha256] for file in task.metadata],
        "configuration": [task.config_id, task.config_version],
        "encryption": _describe_key(task.encryption_key),
        "signing": _describe_key(task.signing_key),
        "format": task.format,
        "approvalsRequired": task.approvals_required,
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _describe_key(key: EncryptionKey | SigningKey | None) -> list[str | int] | None:
    return None if key is None else [key.algorithm.value, key.uri, key.version]


class DecisionBlocker(StrEnum):
    """Why a subject cannot decide on a task."""

    NOT_WAITING = "not waiting"
    EXPIRED = "expired"
    OWN_TASK = "own task"
    NOT_A_PERSON = "not a person"
    ALREADY_DECIDED = "already decided"
    NO_PERMISSION = "no permission"


def decision_blocker(task: Task, subject: str, now: datetime, *, may_approve: bool) -> DecisionBlocker | None:
    """Return why ``subject`` cannot decide on the task at ``now``, or None if it can.

    ``may_approve`` is whether the subject has the APPROVE permission for the task's device configuration.
    """
    if task.status is not TaskStatus.WAITING:
        return DecisionBlocker.NOT_WAITING
    if task.approval_expires_at is not None and now >= task.approval_expires_at:
        return DecisionBlocker.EXPIRED
    if subject == task.created_by and not task.self_approved:
        return DecisionBlocker.OWN_TASK
    if subject_kind(subject) is not SubjectKind.USER:
        return DecisionBlocker.NOT_A_PERSON
    if any(
        decision.by == subject and task.revocation_of(index) is None for index, decision in enumerate(task.approvals)
    ):
        return DecisionBlocker.ALREADY_DECIDED
    return None if may_approve else DecisionBlocker.NO_PERMISSION


def valid_approvers(task: Task, decisions: Iterable[Decision]) -> frozenset[str]:
    """Return the persons whose approvals in ``decisions`` count towards the quorum of ``task``, each once.

    An approval counts if its digest is that of the task, it was not made by the requester, and it has not been revoked.
    The requester's own approval counts only if self-approval was allowed for the task (``task.self_approved``).
    """
    revoked_positions = {revoked.decision for revoked in task.revoked_approvals}
    return frozenset(
        decision.by
        for position, decision in enumerate(decisions)
        if decision.verdict is Verdict.APPROVED
        and position not in revoked_positions
        and decision.digest == task.approval_digest
        and subject_kind(decision.by) is SubjectKind.USER
        and (task.self_approved or decision.by != task.created_by)
    )


def has_quorum(task: Task) -> bool:
    """Return whether the task has enough valid approvals."""
    return len(valid_approvers(task, task.approvals)) >= task.approvals_required


def can_reach_quorum(approvals_required: int, approvers: frozenset[str], requesters: frozenset[str]) -> bool:
    """Return whether each possible requester has at least ``approvals_required`` other approvers."""
    if len(approvers) < approvals_required:
        return False
    return all(len(approvers - {requester}) >= approvals_required for requester in requesters)
