"""The store and the audit log of an open workspace."""

from __future__ import annotations

from typing import NamedTuple

from sealyard.audit.source import AuditSource
from sealyard.audit.store import AuditStore
from sealyard.model.key_holder_messages import EngineKeys
from sealyard.storage.documents import DocumentStore


class OpenedState(NamedTuple):
    """Store, audit log and keys, for the engine.

    ``audit`` and ``keys`` are None if the workspace is open for reading only. ``audit_source`` reads the log that
    ``audit`` writes, from any thread.
    """

    store: DocumentStore
    audit: AuditStore | None
    audit_source: AuditSource
    keys: EngineKeys | None

    def close(self) -> None:
        self.audit_source.close()
        if self.audit is not None:
            self.audit.close()
        self.store.close()
