"""Check that the store and the audit log of a workspace have the same history.

Entries are committed in the store before they are moved to the log. The checks therefore detect a store that was reset
to an older state than the log, a log that was reset to an older state than the store, and different entries in both.
They cannot detect that all files were reset together: the freshness anchor does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from sealyard.audit.source import AuditSource
from sealyard.engine.state.tables import RULES
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import AuditVerificationError
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_holder_messages import RecentIntent
from sealyard.storage.documents import DocumentStore

_RESTORE_HINT = "Restore the whole workspace from one backup."
_RECOVER_HINT = Hint.of(HintCode.RECOVER_WORKSPACE)


def require_same_history(store: DocumentStore, log: AuditSource, log_size: int) -> None:
    """Raise :class:`AuditVerificationError` unless store and log have the same history and the log has a checkpoint.

    A new workspace, whose store and log are empty, needs no checkpoint. ``log_size``: the number of entries in the log
    at a time before ``store`` was loaded; another process may add entries meanwhile.
    """
    log.require_checkpoints()
    if log.last_note() is None and store.count(RULES.name):
        raise AuditVerificationError("The audit log of the workspace was removed.", _RESTORE_HINT)
    if (gap := find_gap(store, log, log_size)) is not None:
        raise gap


def find_gap(store: DocumentStore, log: AuditSource, log_size: int) -> AuditVerificationError | None:
    """Return why one of store and log is older than the other, None if none is.

    Raises :class:`AuditVerificationError` if they contain different entries. ``log_size``: see
    :func:`require_same_history`.
    """
    documents = store.pending_audit()
    return _compare(documents, log, log_size) if documents else None


def find_lost_intent(
    intents: Iterable[RecentIntent], find_fencing_token: Callable[[str], int | None]
) -> AuditVerificationError | None:
    """Return an error if the store lacks an attempt of a task that a key was used for, None if it lacks none.

    Each attempt is committed before its intent is recorded. ``find_fencing_token``: returns that of the newest attempt
    of a task, None if there is no such task.
    """
    for intent in intents:
        fencing_token = find_fencing_token(intent.task_id)
        if fencing_token is None or fencing_token < intent.fencing_token:
            return AuditVerificationError(
                f"A key was used for attempt {intent.fencing_token} of task {intent.task_id}, which the store does not"
                " contain: it has lost acknowledged commits, or an older state of it was restored.",
                _RECOVER_HINT,
            )
    return None


def _compare(documents: list[dict[str, Any]], log: AuditSource, old_log_size: int) -> AuditVerificationError | None:
    """Compare the newest entries, which the store contains, with the log."""
    first_seq, last_seq = documents[0]["seq"], documents[-1]["seq"]
    log_size = log.size
    _require_same_entry(documents, log, log_size)
    if last_seq + 1 < old_log_size:
        return AuditVerificationError(
            f"The store is older than the audit log: it ends with audit entry {last_seq}, but the log contains"
            f" {format_count(old_log_size, 'entry', 'entries')}. An older state of the store was restored.",
            _RECOVER_HINT,
        )
    if first_seq > log_size:
        return AuditVerificationError(
            f"Entry {log_size} is missing: the audit log ends after {format_count(log_size, 'entry', 'entries')}, but"
            f" the store continues with entry {first_seq}.",
            _RECOVER_HINT,
            seq=log_size,
        )
    return None


def _require_same_entry(documents: list[dict[str, Any]], log: AuditSource, log_size: int) -> None:
    first_seq, last_seq = documents[0]["seq"], documents[-1]["seq"]
    newest_common_seq = min(last_seq, log_size - 1)
    if newest_common_seq < first_seq:
        return
    (logged_entry,) = log.entries(newest_first=False, after_seq=newest_common_seq - 1, limit=1)
    # The entries are chained, so that comparing the newest one compares all of them.
    if logged_entry != msgspec.convert(documents[newest_common_seq - first_seq], AuditEntry):
        raise AuditVerificationError(
            f"Entry {newest_common_seq} of the audit log is not the entry that the store committed: the log or the"
            " store was rewritten.",
            _RESTORE_HINT,
            seq=newest_common_seq,
        )
