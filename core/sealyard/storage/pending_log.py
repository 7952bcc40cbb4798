"""What the journal holds beside documents: audit entries on their way to the audit log, and the last events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from sealyard.storage.batch import audit_seq
from sealyard.storage.frame_format import EncodedBatch

MAX_EVENTS = 10_000


class PendingRecords:
    """Durable entries and events, encoded, in order. Whoever uses it from several threads holds a lock."""

    def __init__(self, audit: Iterable[bytes] = (), events: Iterable[bytes] = ()) -> None:
        self.audit = list(audit)
        self.events = deque(events, maxlen=MAX_EVENTS)

    def add(self, record: EncodedBatch) -> None:
        self.audit.extend(map(bytes, record.audit))
        self.events.extend(map(bytes, record.events))

    def after(self, moved_to: int) -> EncodedBatch:
        """What a new generation must carry over."""
        audit = [msgspec.Raw(entry) for entry in self.audit]
        return EncodedBatch(
            audit=[entry for entry in audit if audit_seq(entry) > moved_to],
            events=[msgspec.Raw(event) for event in self.events],
        )

    def discard_audit(self, moved_to: int) -> None:
        self.audit = [entry for entry in self.audit if audit_seq(msgspec.Raw(entry)) > moved_to]
