"""The store and the audit log of a workspace that may be older than its worker state, for a recovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sealyard.audit.store import AuditStore
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.model.tasks import TaskStatus


class RecoverableTask(FrozenStruct, frozen=True, kw_only=True):
    """What a recovery needs to know about a task."""

    status: TaskStatus
    fencing_token: int = 0


class RecoverableState(NamedTuple):
    """A verified store, of generation ``generation``, and the audit log that belongs to it.

    ``tasks``: by id. ``note``: the newest checkpoint of the log. ``problems``: why the engine refuses to start with
    them.
    """

    generation: StoreGeneration
    tasks: Mapping[str, RecoverableTask]
    audit: AuditStore
    note: str
    problems: tuple[str, ...]


def require_note(audit: AuditStore) -> str:
    """Return the newest checkpoint of the log. Raises :class:`AuditVerificationError` if there is none."""
    audit.require_checkpoints()
    note = audit.last_note()
    if note is None:
        raise AuditVerificationError(
            "The audit log of the workspace was removed.", "Restore the whole workspace from one backup."
        )
    return note
