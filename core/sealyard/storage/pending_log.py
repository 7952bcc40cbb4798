"""The records in the journal that are not documents: audit entries pending for the audit log, and recent events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from sealyard.storage.batch import audit_seq
from sealyard.storage.frame_format import EncodedBatch

MAX_EVENTS = 10_000


class PendingRecords:
    """Audit entries and events of durable commits that are not written elsewhere yet, in order, encoded as JSON.

    Not thread-safe: callers must hold a lock.
    """

    def __init__(self, audit: Iterable[bytes] = (), events: Iterable[bytes] = ()) -> None:
        self.audit = list(audit)
        self.events = deque(events, maxlen=MAX_EVENTS)

    def add(self, record: EncodedBatch) -> None:
        self.audit.extend(map(bytes, record.audit))
        self.events.extend(map(bytes, record.events))

    def build_carry_over(self, moved_to_seq: int) -> EncodedBatch:
        """Return the records that the journal of a new generation starts with.

        These are all events, and the audit entries with a ``seq`` above ``moved_to_seq``.
        """
        audit = [msgspec.Raw(entry) for entry in self.audit]
        return EncodedBatch(
            audit=[entry for entry in audit if audit_seq(entry) > moved_to_seq],
            events=[msgspec.Raw(event) for event in self.events],
        )

    def discard_audit(self, moved_to_seq: int) -> None:
        """Remove the audit entries with a ``seq`` up to ``moved_to_seq``, which are in the audit log."""
        self.audit = [entry for entry in self.audit if audit_seq(msgspec.Raw(entry)) > moved_to_seq]
