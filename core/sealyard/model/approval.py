"""Four eyes: what an approval is bound to, who counts, and when a quorum is reached. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sealyard.model.access import SubjectKind, subject_kind
from sealyard.model.canonical_json import canonical_json
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.tasks import Decision, Task, Verdict

DIGEST_DOMAIN = "sealyard approval v1"


def approval_digest(task: Task) -> str:
    """SHA-256 (hex) over RFC 8785 JSON of all that a decision is about.

    Label, task, kind, requester, name, content type, inputs and metadata (names and digests, in order),
    configuration id and version, keys, format and the number of approvals: change one and no approval counts.
    """
    subject = {
        "label": DIGEST_DOMAIN,
        "task": task.id,
        "kind": task.kind.value,
        "requestedBy": task.created_by,
        "name": task.name,
        "contentType": task.content_type,
        "inputs": [[each.name, each.size, each.sha256] for each in task.inputs],
        "metadata": [[each.name, each.size, each.sha256] for each in task.metadata],
        "configuration": [task.config_id, task.config_version],
        "encryption": _key(task.encryption_key),
        "signing": _key(task.signing_key),
        "format": task.format,
        "approvalsRequired": task.approvals_required,
    }
    return hashlib.sha256(canonical_json(subject)).hexdigest()


def _key(key: EncryptionKey | SigningKey | None) -> list[str | int] | None:
    return None if key is None else [key.algorithm.value, key.uri, key.version]


def valid_approvers(task: Task, decisions: Iterable[Decision]) -> frozenset[str]:
    """The distinct persons whose approval counts: bound to this very task, and never the requester.

    Only under the trial switch (``task.trial``) does the requester count.
    """
    return frozenset(
        each.by
        for each in decisions
        if each.verdict is Verdict.APPROVED
        and each.digest == task.approval_digest
        and subject_kind(each.by) is SubjectKind.USER
        and (task.self_approved or each.by != task.created_by)
    )


def has_quorum(task: Task) -> bool:
    return len(valid_approvers(task, task.approvals)) >= task.approvals_required


def can_reach_quorum(required: int, approvers: frozenset[str], requesters: frozenset[str]) -> bool:
    """Whether ``required`` persons remain among ``approvers`` whichever of ``requesters`` asks."""
    if len(approvers) < required:
        return False
    return all(len(approvers - {each}) >= required for each in requesters)
