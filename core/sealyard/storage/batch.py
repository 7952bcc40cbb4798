"""Units of work: what is committed together, all or nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError
from sealyard.storage.frame_format import EncodedBatch

Document = dict[str, Any] | msgspec.Raw
"""A document, audit entry or event: as JSON's own types or encoded."""

Change = tuple[str, str, bytes | None]
"""Table, document id, and the document as JSON; ``None`` removes it."""


class WriteBatch(FrozenStruct, frozen=True, kw_only=True):
    """One unit of work.

    ``puts`` are (table, id, document); a document is made of JSON's own types (dict with text keys, list, str,
    int, float, bool, None), or is encoded already (:class:`msgspec.Raw`: one JSON object without line feeds).
    ``removes`` are (table, id); one that is not there is no error. ``audit`` are entries with their ``seq``,
    kept until :meth:`DocumentStore.compact` is told they have moved to the audit log. ``events`` are kept for
    those who catch up.
    """

    puts: tuple[tuple[str, str, Document], ...] = ()
    deletes: tuple[tuple[str, str], ...] = ()
    audit: tuple[Document, ...] = ()
    events: tuple[Document, ...] = ()


class AuditSeq(msgspec.Struct):
    """The one member of an audit entry that storage reads."""

    seq: int


_audit_seq = msgspec.json.Decoder(AuditSeq)


def audit_seq(entry: msgspec.Raw) -> int:
    """The running number of an encoded audit entry."""
    return _audit_seq.decode(entry).seq


def encode_batch(unit: WriteBatch) -> EncodedBatch:
    """``unit`` with its contents encoded; raises :class:`InvalidInputError` where something is no JSON."""
    try:
        record = EncodedBatch(
            puts=[(table, identity, _encode(document)) for table, identity, document in unit.puts],
            removes=list(unit.deletes),
            audit=[_encode(entry) for entry in unit.audit],
            events=[_encode(event) for event in unit.events],
        )
        for entry in record.audit:
            audit_seq(entry)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"A document cannot be stored as JSON: {type(error).__name__}.") from error
    return record


def iter_changes(record: EncodedBatch) -> list[Change]:
    """What the unit does to documents, in order."""
    puts: list[Change] = [(table, identity, bytes(document)) for table, identity, document in record.puts]
    return puts + [(table, identity, None) for table, identity in record.removes]


def _encode(content: Document) -> msgspec.Raw:
    return content if isinstance(content, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(content))
