"""The content of store and audit log, as a move copies it, and its comparison with the copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple, Protocol

import msgspec

from sealyard.audit.checkpoint import parse_note
from sealyard.audit.source import AuditSource
from sealyard.audit.verify import verify_log
from sealyard.model.errors import StorageError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.journal_protocol import Tables

Document = tuple[str, str, bytes]
"""Table, id, and the document as JSON."""


class WorkspaceContent(NamedTuple):
    """The content of an open workspace that does not change during a move.

    ``events`` are the recent ones. ``generation`` is that of the store, which the copy continues. ``audit`` is the
    complete audit log.
    """

    tables: Tables
    events: Sequence[bytes]
    generation: StoreGeneration
    audit: AuditSource


class CopyTarget(Protocol):
    """The place to which store and audit log are copied. No engine opens the copy."""

    def check(self) -> None:
        """Check that the place is free, or has an unfinished copy, without changing it.

        Raises :class:`ConflictError` if it contains something else, and :class:`StorageError` or
        :class:`WorkspaceError` if it cannot be used.
        """
        ...

    def write(self, content: WorkspaceContent) -> None:
        """Write the copy, as the generation after that of ``content``. Replaces an unfinished copy.

        Raises the errors of :meth:`check`. What was written before an error is replaced by the next call.
        """
        ...

    def verify(self, content: WorkspaceContent) -> None:
        """Read the copy again, verify its MACs and checkpoints, and compare it with ``content``.

        Raises :class:`StorageError` if it differs, :class:`StoreCorruptedError` if a MAC is wrong, and
        :class:`AuditVerificationError` if a checkpoint does not match.
        """
        ...


def iter_documents(tables: Tables) -> Iterator[Document]:
    """Yield all documents, ordered by the UTF-8 bytes of table and id."""
    for table in sorted(tables):
        documents = tables[table]
        for identity in sorted(documents):
            yield table, identity, documents[identity]


def compute_digest(documents: Iterable[Document]) -> tuple[int, str]:
    """Return the number of ordered documents, and the SHA-256 (hex) of all of them."""
    count, digest = 0, hashlib.sha256()
    for table, identity, document in documents:
        digest.update(msgspec.json.encode([table, identity, len(document)]) + b"\n" + document)
        count += 1
    return count, digest.hexdigest()


def require_same_documents(expected: Tables, documents: Iterable[Document]) -> None:
    """Raise :class:`StorageError` unless ``documents``, in order, are the expected ones."""
    if compute_digest(documents) != compute_digest(iter_documents(expected)):
        raise differing_copy_error("its documents differ")


def require_same_events(expected: Sequence[bytes], events: Sequence[bytes]) -> None:
    """Raise :class:`StorageError` unless the events are the expected ones."""
    if list(events) != list(expected):
        raise differing_copy_error("its events differ")


def require_same_audit_log(expected: AuditSource, actual: AuditSource) -> None:
    """Verify a copied audit log with all its checkpoints, and compare it byte for byte.

    Raises :class:`AuditVerificationError` if it cannot be verified, and :class:`StorageError` if it differs.
    """
    verify_log(actual)
    for seq, (line, copied_line) in enumerate(zip_longest(expected.lines(), actual.lines())):
        if line is None or copied_line is None or line.data != copied_line.data:
            raise differing_copy_error(f"entry {seq} of its audit log differs")
    if list_checkpoints(actual) != list_checkpoints(expected):
        raise differing_copy_error("its checkpoints differ")
    if actual.find_public_key() != expected.find_public_key():
        raise differing_copy_error("its audit key differs")


def list_checkpoints(audit: AuditSource) -> list[tuple[int, str]]:
    """Return size and signed note of each checkpoint. After a crash, a log can have one of them twice."""
    notes = {parse_note(note)[0].size: note for note in audit.notes()}
    return list(notes.items())


def differing_copy_error(difference: str) -> StorageError:
    return StorageError(
        f"The copy is not the same as the workspace: {difference}. The workspace was not changed.",
        "Check that no other program writes to the target, then move the workspace again.",
    )
