"""Write batches: changes that are committed atomically, and their encoding."""

from __future__ import annotations

from typing import Any

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError
from sealyard.storage.frame_format import EncodedBatch

Document = dict[str, Any] | msgspec.Raw
"""A document, audit entry or event: as JSON types, or already encoded."""

Change = tuple[str, str, bytes | None]
"""Table, document id, and the new document as JSON; ``None`` deletes the document."""


class WriteBatch(FrozenStruct, frozen=True, kw_only=True):
    """Changes that are committed atomically.

    ``puts`` are (table, id, document). A document consists of JSON types (dict with string keys, list, str, int, float,
    bool, None) or is already encoded (:class:`msgspec.Raw`: one JSON object without line feeds). ``deletes`` are
    (table, id); deleting a missing document is not an error. ``audit`` are audit entries with their ``seq``. They are
    kept until :meth:`DocumentStore.compact` is called, after they were moved to the audit log. ``events`` are kept for
    clients that reconnect.
    """

    puts: tuple[tuple[str, str, Document], ...] = ()
    deletes: tuple[tuple[str, str], ...] = ()
    audit: tuple[Document, ...] = ()
    events: tuple[Document, ...] = ()


class AuditSeq(msgspec.Struct):
    """The only member of an audit entry that the store reads."""

    seq: int


_audit_seq_decoder = msgspec.json.Decoder(AuditSeq)


def audit_seq(entry: msgspec.Raw) -> int:
    """Return the sequence number of an encoded audit entry."""
    return _audit_seq_decoder.decode(entry).seq


def encode_batch(batch: WriteBatch) -> EncodedBatch:
    """Return ``batch`` with documents, audit entries and events encoded as JSON.

    Raises :class:`InvalidInputError` if one of them cannot be encoded.
    """
    try:
        encoded_batch = EncodedBatch(
            puts=[(table, identity, _encode(document)) for table, identity, document in batch.puts],
            removes=list(batch.deletes),
            audit=[_encode(entry) for entry in batch.audit],
            events=[_encode(event) for event in batch.events],
        )
        for entry in encoded_batch.audit:
            audit_seq(entry)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"A document cannot be stored as JSON: {type(error).__name__}.") from error
    return encoded_batch


def iter_changes(encoded_batch: EncodedBatch) -> list[Change]:
    """Return the changes of a batch to documents, in order."""
    puts: list[Change] = [(table, identity, bytes(document)) for table, identity, document in encoded_batch.puts]
    return puts + [(table, identity, None) for table, identity in encoded_batch.removes]


def _encode(content: Document) -> msgspec.Raw:
    return content if isinstance(content, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(content))
