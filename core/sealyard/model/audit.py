"""What the audit log records: who did what to which resource, and what came of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from sealyard.model.base import FrozenStruct

GENESIS_HASH = "0" * 64
"""What the first entry has in the place of a hash of the entry before it."""

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


class AuditAction(StrEnum):
    """What happened to the resource."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    CANCELLED = "CANCELLED"
    STATUS_CHANGED = "STATUS_CHANGED"
    KEY_USED = "KEY_USED"
    DOWNLOADED = "DOWNLOADED"
    EXPORTED = "EXPORTED"
    RENEWED = "RENEWED"
    EXPIRED = "EXPIRED"
    REMOVED = "REMOVED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    CORRUPTED = "CORRUPTED"  # a stored file is not what was approved or written


class AuditEntry(FrozenStruct, frozen=True, kw_only=True):
    """One line of the log. ``seq`` counts from 0 without gaps.

    ``author`` is a subject (``USER:anna``, ``SYSTEM:engine``), ``resource`` a type and an id
    (``TASK:ab12``). ``code`` is the stable error code of a refusal or failure, else empty. ``previous`` is
    the RFC 6962 leaf hash (hex) of the entry before: it lets a check name the first entry that does not fit.
    """

    seq: Annotated[int, msgspec.Meta(ge=0)]
    timestamp: Timestamp  # UTC
    author: str
    change: AuditAction
    resource: str
    message: str
    new_value: dict[str, Any] | None
    code: str
    previous: str

    @property
    def resource_type(self) -> str:
        return self.resource.partition(":")[0]


class AuditFilter(FrozenStruct, frozen=True, kw_only=True):
    """Which entries to show; what is None or empty does not narrow. ``until`` itself is not included."""

    resource_type: str = ""
    resource: str = ""
    author: str = ""
    change: AuditAction | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""  # anywhere in the entry, upper and lower case alike

    def matches(self, entry: AuditEntry) -> bool:
        return (
            self.resource_type in ("", entry.resource_type)
            and self.resource in ("", entry.resource)
            and self.author in ("", entry.author)
            and self.change in (None, entry.change)
            and (self.since is None or entry.timestamp >= self.since)
            and (self.until is None or entry.timestamp < self.until)
            and (not self.text or self.text.casefold() in _searchable(entry))
        )


def _searchable(entry: AuditEntry) -> str:
    value = msgspec.json.encode(entry.new_value).decode() if entry.new_value else ""
    return "\n".join((entry.author, entry.change, entry.resource, entry.message, entry.code, value)).casefold()


class Checkpoint(FrozenStruct, frozen=True, kw_only=True):
    """The state of a log at one size: the RFC 6962 root (hex) over its first ``size`` entries.

    ``origin`` names the log: ``sealyard/<workspace id>``.
    """

    origin: str
    size: int
    root: str


class AuditReport(FrozenStruct, frozen=True, kw_only=True):
    """What a check of the whole log found, when it found nothing wrong.

    Entries from ``sealed_size`` on are *not yet sealed*: no signature covers them. ``key_fingerprint`` is the
    SHA-256 (hex) of the audit key's DER SubjectPublicKeyInfo, empty where there is no key yet; it and the
    newest checkpoint are worth keeping outside: whoever can rewrite the folder can replace the key in it too.
    """

    origin: str
    size: int
    checkpointed_size: int
    root: str
    checkpoints_checked: int
    key_fingerprint: str

    @property
    def uncheckpointed_count(self) -> int:
        return self.size - self.checkpointed_size
