"""The records in the journal that are not documents: audit entries pending for the audit log, and recent events."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

import msgspec

from sealyard.storage.batch import audit_seq
from sealyard.storage.frame_format import EncodedBatch

MAX_EVENTS = 10_000


class PendingRecords:
    """Audit entries, ordered by ``seq``, and events of durable commits that are not written elsewhere yet, as JSON.

    ``keeps_audit`` is False if the commit itself writes the entries to the audit log. Not thread-safe: callers must
    hold a lock.
    """

    def __init__(self, audit: Iterable[bytes] = (), events: Iterable[bytes] = (), *, keeps_audit: bool = True) -> None:
        self._keeps_audit = keeps_audit
        self.audit = list(audit)
        self.events = deque(events, maxlen=MAX_EVENTS)

    def add(self, record: EncodedBatch) -> None:
        if self._keeps_audit:
            self.audit.extend(map(bytes, record.audit))
        self.events.extend(map(bytes, record.events))

    def audit_from(self, seq: int) -> list[bytes]:
        """Return the audit entries with this ``seq`` and later ones."""
        return self.audit[bisect_left(self.audit, seq, key=_encoded_seq) :]

    def build_carry_over(self, moved_to_seq: int) -> EncodedBatch:
        """Return the records that the journal of a new generation starts with.

        These are all events, and the audit entries with a ``seq`` above ``moved_to_seq``.
        """
        return EncodedBatch(
            audit=[msgspec.Raw(entry) for entry in self.audit_from(moved_to_seq + 1)],
            events=[msgspec.Raw(event) for event in self.events],
        )

    def discard_audit(self, moved_to_seq: int) -> None:
        """Remove the audit entries with a ``seq`` up to ``moved_to_seq``, which are in the audit log."""
        self.audit = self.audit_from(moved_to_seq + 1)


def _encoded_seq(entry: bytes) -> int:
    return audit_seq(msgspec.Raw(entry))
