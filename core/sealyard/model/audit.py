"""Entries, filters, checkpoints and verification reports of the audit log."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from sealyard.model.audit_changes import AuditChange
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

GENESIS_HASH = "0" * 64
"""The ``previous`` hash of the first entry."""

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


class AuditAction(StrEnum):
    """What happened to the resource of an audit entry."""

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
    CORRUPTED = "CORRUPTED"  # a stored file differs from the one that was approved or written


class AuditResourceType(StrEnum):
    """The type in the ``resource`` of an audit entry: the text before the first colon."""

    TASK = "TASK"
    INPUT = "INPUT"
    DEVICE_CONFIG = "DEVICE_CONFIG"
    KEY = "KEY"
    ACL = "ACL"
    SUBJECT = "SUBJECT"
    POLICY = "POLICY"
    TOKEN = "TOKEN"  # noqa: S105 - not a secret
    WEBHOOK = "WEBHOOK"
    NOTIFICATION = "NOTIFICATION"
    AUDIT_LOG = "AUDIT_LOG"
    WORKSPACE = "WORKSPACE"
    RESOURCE_TYPE = "RESOURCE_TYPE"


def parse_audit_resource_type(text: str) -> AuditResourceType:
    """Parse a resource type, ignoring case. Raises :class:`UsageError` if it is unknown."""
    try:
        return AuditResourceType(text.upper())
    except ValueError:
        raise UsageError(
            f"Unknown resource type {escape_text(text, 80)!r}.", f"Use {', '.join(AuditResourceType)}."
        ) from None


class AuditEntry(FrozenStruct, frozen=True, kw_only=True):
    """An entry of the audit log. ``seq`` counts from 0 without gaps.

    ``author``: a subject (``USER:anna``, ``SYSTEM:engine``). ``resource``: a type and an id (``TASK:ab12``).
    ``code``: the stable error code of a refusal or failure, otherwise empty. ``previous``: the RFC 6962 leaf hash
    (hex) of the preceding entry, which allows verification to name the first entry that does not match. ``changes``:
    the changed fields with their old and new values, for an update or a deletion; otherwise omitted, as in entries of
    earlier versions, whose hashes it must not change.
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
    changes: tuple[AuditChange, ...] | UnsetType = UNSET

    @property
    def changed_fields(self) -> tuple[AuditChange, ...]:
        return () if isinstance(self.changes, UnsetType) else self.changes

    @property
    def resource_type(self) -> str:
        return self.resource.partition(":")[0]


class AuditFilter(FrozenStruct, frozen=True, kw_only=True):
    """Selects audit entries. Fields that are None or empty do not restrict the selection.

    ``since`` is inclusive and ``until`` exclusive.
    """

    resource_type: str = ""
    resource: str = ""
    author: str = ""
    change: AuditAction | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""  # searched in all text of the entry, ignoring case

    def matches(self, entry: AuditEntry) -> bool:
        return (
            self.resource_type in ("", entry.resource_type)
            and self.resource in ("", entry.resource)
            and self.author in ("", entry.author)
            and self.change in (None, entry.change)
            and (self.since is None or entry.timestamp >= self.since)
            and (self.until is None or entry.timestamp < self.until)
            and (not self.text or self.text.casefold() in _searchable_text(entry))
        )


def _searchable_text(entry: AuditEntry) -> str:
    values = [_encode_text(value) for value in (entry.new_value, entry.changed_fields) if value]
    return "\n".join((entry.author, entry.change, entry.resource, entry.message, entry.code, *values)).casefold()


def _encode_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


class Checkpoint(FrozenStruct, frozen=True, kw_only=True):
    """The state of an audit log when it had ``size`` entries.

    ``origin``: the name of the log, ``sealyard/<workspace id>``. ``root``: the RFC 6962 root hash (hex) over the first
    ``size`` entries.
    """

    origin: str
    size: int
    root: str


class AuditReport(FrozenStruct, frozen=True, kw_only=True):
    """The report of a successful verification of the whole audit log.

    Entries from sequence number ``checkpointed_size`` on are not yet covered by a signed checkpoint.
    ``key_fingerprint``: the SHA-256 (hex) of the audit key's DER SubjectPublicKeyInfo, empty until the key exists.
    Operators should store the fingerprint and the newest checkpoint outside the workspace, because an attacker who can
    rewrite the workspace directory can also replace the key in it.

    ``external_checkpoint_size``: the size of the checkpoint from outside the workspace that the log was compared with.
    None if nothing outside was compared: then the report does not exclude that the whole directory was replaced or
    reset to an older state.
    """

    origin: str
    size: int
    checkpointed_size: int
    root: str
    checkpoints_checked: int
    key_fingerprint: str
    external_checkpoint_size: int | None = None

    @property
    def uncheckpointed_count(self) -> int:
        return self.size - self.checkpointed_size
