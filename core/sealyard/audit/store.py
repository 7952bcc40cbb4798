"""The interface for writing an audit log, with what is common to all kinds of storage.

Entries are prepared on the engine's event loop and stored with or after the commit of their unit of work. A worker then
signs a checkpoint that covers them. Nothing in this module changes or removes a stored entry.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET

from sealyard.audit.checkpoint import parse_note
from sealyard.audit.encoding import decode_entry, encode_entry
from sealyard.audit.merkle import EMPTY_ROOT, Frontier, extension_proof, leaf_hash
from sealyard.audit.source import AuditSource
from sealyard.model.audit import GENESIS_HASH, AuditAction, AuditEntry, Checkpoint
from sealyard.model.audit_changes import AuditChange
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError
from sealyard.model.hints import Hint, HintCode


class LogHead(FrozenStruct, frozen=True, kw_only=True):
    """The end of the log: the sequence number of the next entry, and the leaf hash (hex) of the previous one."""

    next_seq: int
    previous: str


class AuditStore(AuditSource):
    """The only writer of an audit log.

    Tracks two positions. The *head* is in memory and advances with every prepared entry; if the entry's unit of work
    cannot be committed, the caller resets the head with :meth:`rollback`. The *stored* log is durable and grows with
    :meth:`append`, which is called after the commit and may be called again with the same entries.

    Call :meth:`prepare` and :meth:`rollback` from one thread, and :meth:`append`, :meth:`checkpoint` and
    :meth:`append_checkpoint` from one thread, which may be a different one.
    """

    def __init__(self) -> None:
        self._tree = Frontier()
        self._stored_head = LogHead(next_seq=0, previous=GENESIS_HASH)
        self._head = self._stored_head
        self._checkpointed_size = 0
        self._checkpointed_root = EMPTY_ROOT
        self._pending_roots: dict[int, str] = {}
        self._signed_tree = Frontier()
        """The tree of the last signed checkpoint."""
        self._unsigned_leaves: list[bytes] = []
        """The leaf hashes of the stored entries that it does not cover."""

    @abstractmethod
    def pin_key(self, public_key: bytes) -> None:
        """Store the public audit key (PEM) with the log.

        Raises :class:`AuditVerificationError` if a different key is already stored, and :class:`StorageError` if it
        cannot be written.
        """

    @abstractmethod
    def _store_lines(self, lines: Sequence[bytes]) -> int:
        """Store at least the first of the encoded entries durably, and return how many were stored."""

    @abstractmethod
    def _store_note(self, note: str, tree: Frontier) -> None:
        """Store a signed checkpoint durably. ``tree`` is the tree over the entries that it covers."""

    @property
    def head(self) -> LogHead:
        return self._head

    @property
    def next_seq(self) -> int:
        return self._head.next_seq

    @property
    def size(self) -> int:
        return self._tree.size

    @property
    def checkpointed_size(self) -> int:
        """The number of stored entries that the newest checkpoint covers. Does not read the disk."""
        return self._checkpointed_size

    @property
    def root(self) -> str:
        """The RFC 6962 root (hex) over all stored entries."""
        return self._tree.root().hex()

    def prepare(
        self,
        *,
        timestamp: datetime,
        author: str,
        change: AuditAction,
        resource: str,
        message: str,
        new_value: dict[str, Any] | None = None,
        code: str = "",
        changes: tuple[AuditChange, ...] = (),
    ) -> AuditEntry:
        """Create the next entry and advance the head, without writing anything.

        The caller commits the entry with its unit of work, and stores it with :meth:`append` afterwards. ``timestamp``
        must have a time zone. Raises :class:`InvalidInputError` if a value cannot be represented in JSON; then the head
        does not advance.
        """
        entry = AuditEntry(
            seq=self._head.next_seq,
            timestamp=timestamp.astimezone(UTC),
            author=author,
            change=change,
            resource=resource,
            message=message,
            new_value=new_value,
            code=code,
            previous=self._head.previous,
            changes=changes or UNSET,
        )
        self._head = _compute_head(entry.seq, encode_entry(entry))
        return entry

    def rollback(self, head: LogHead) -> None:
        """Discard the entries prepared since ``head`` was read, because their unit of work was not committed.

        Raises :class:`AuditVerificationError` if ``head`` is older than the stored log or newer than the current head.
        """
        if not self._stored_head.next_seq <= head.next_seq <= self._head.next_seq:
            raise AuditVerificationError("Cannot discard entries that are already stored or were never prepared.")
        self._head = head

    def append(self, entries: Iterable[AuditEntry]) -> None:
        """Append the entries that are not stored yet, in order, durably.

        Raises :class:`AuditVerificationError` if an entry does not follow the previous one,
        :class:`ConcurrentWriterError` if another process has written to the log, and :class:`StorageError` if the log
        cannot be written. Entries that were written before the error stay stored.
        """
        pending_entries = [entry for entry in entries if entry.seq >= self.size]
        while pending_entries:
            lines = self._encode(pending_entries)
            stored_count = self._store_lines(lines)
            for line in lines[:stored_count]:
                leaf = leaf_hash(line)
                self._tree.append(leaf)
                self._unsigned_leaves.append(leaf)
            self._stored_head = _compute_head(self.size - 1, lines[stored_count - 1])
            pending_entries = pending_entries[stored_count:]
        if self._head.next_seq < self._stored_head.next_seq:
            self._head = self._stored_head

    def checkpoint(self, origin: str) -> Checkpoint:
        """Return an unsigned checkpoint of the stored log, for a worker to sign.

        ``origin`` is ``sealyard/<workspace id>``.
        """
        self._pending_roots[self.size] = self.root
        return Checkpoint(origin=origin, size=self.size, root=self.root)

    def consistency_proof(self) -> tuple[str, ...]:
        """Return the RFC 6962 proof (hex) that the stored log extends that of the last signed checkpoint.

        Empty if no checkpoint was signed, or if it covers the whole log.
        """
        if self._signed_tree.size == 0:
            return ()
        return tuple(each.hex() for each in extension_proof(self._signed_tree, self._unsigned_leaves))

    def require_signed(self, size: int, root: str) -> None:
        """Check that the log extends the checkpoint that the key holder has recorded as signed last.

        ``size`` is 0 if it has recorded none. The next :meth:`consistency_proof` starts there. Raises
        :class:`AuditVerificationError` if entries are missing or were changed since, or if the worker state is older
        than the log.
        """
        if size < self._signed_tree.size:
            raise AuditVerificationError(
                f"The audit log has a checkpoint of size {self._signed_tree.size}, but the worker state knows only"
                f" one of size {size}: it is older than the log.",
                "Restore the whole workspace from one backup, not single files of it.",
            )
        if size > self.size:
            raise AuditVerificationError(
                f"The audit log has {self.size} entries, but a checkpoint of size {size} was signed: entries were"
                " removed.",
                Hint.of(HintCode.RECOVER_WORKSPACE),
            )
        tree = self._compute_tree(size)
        if size and tree.root().hex() != root:
            raise AuditVerificationError(
                f"The audit log does not match the last checkpoint that was signed, of size {size}: entries were"
                " changed.",
                Hint.of(HintCode.VERIFY_AUDIT),
            )
        del self._unsigned_leaves[: size - self._signed_tree.size]
        self._signed_tree = tree

    def append_checkpoint(self, note: str) -> None:
        """Store the signed note of a checkpoint that :meth:`checkpoint` returned.

        Does not verify the signature, which the worker did after signing and
        :func:`sealyard.audit.verify.verify_log` does again. Raises :class:`AuditVerificationError` if the note does not
        belong to a checkpoint that :meth:`checkpoint` returned, and the errors of the disk as :meth:`append` does.
        """
        checkpoint, _ = parse_note(note)
        if self._pending_roots.get(checkpoint.size) != checkpoint.root or checkpoint.size < self._checkpointed_size:
            raise AuditVerificationError(f"No checkpoint of size {checkpoint.size} was requested.")
        self._store_note(note, self._compute_tree(checkpoint.size))
        self._checkpointed_size = checkpoint.size
        self.require_signed(checkpoint.size, checkpoint.root)
        self._pending_roots = {size: root for size, root in self._pending_roots.items() if size > checkpoint.size}

    def _compute_tree(self, size: int) -> Frontier:
        """Return the tree over the first ``size`` entries, at least those that the last signed checkpoint covers."""
        tree = self._signed_tree.copy()
        for leaf in self._unsigned_leaves[: size - tree.size]:
            tree.append(leaf)
        return tree

    def _restore_checkpointed(self, tree: Frontier, previous_hash: str) -> None:
        """Start with the verified tree of the newest checkpoint, without the entries that it covers.

        ``previous_hash`` is the leaf hash (hex) of the last of them. :meth:`_load_lines` continues with the next one.
        """
        self._tree, self._signed_tree = tree.copy(), tree
        self._checkpointed_size, self._checkpointed_root = tree.size, tree.root()
        self._stored_head = self._head = LogHead(next_seq=tree.size, previous=previous_hash)

    def _load_lines(self, lines: Iterable[bytes], source: str) -> int:
        """Continue the tree with stored entries of the file or table ``source``, and return their number.

        Raises :class:`AuditVerificationError` if one that the newest checkpoint does not cover does not follow the
        previous one.
        """
        size_before, previous_hash = self._tree.size, self._stored_head.previous
        for line in lines:
            leaf = leaf_hash(line)
            if self._tree.size >= self._checkpointed_size:
                _require_successor(line, self._tree.size, previous_hash, source)
            previous_hash = leaf.hex()
            self._tree.append(leaf)
            if self._tree.size > self._checkpointed_size:
                self._unsigned_leaves.append(leaf)
            elif self._tree.size == self._checkpointed_size:
                self._checkpointed_root = self._tree.root()
                self._signed_tree = self._tree.copy()
        self._stored_head = self._head = LogHead(next_seq=self._tree.size, previous=previous_hash)
        return self._tree.size - size_before

    def _require_checkpointed_root(self, checkpoint: Checkpoint | None) -> None:
        """Raise :class:`AuditVerificationError` if the loaded entries do not match their newest checkpoint."""
        if checkpoint is not None and self._checkpointed_root.hex() != checkpoint.root:
            raise AuditVerificationError(
                f"The audit log does not match its last checkpoint, of size {checkpoint.size}.",
                Hint.of(HintCode.VERIFY_AUDIT),
            )

    def _encode(self, entries: Sequence[AuditEntry]) -> list[bytes]:
        """Return the entries as they are stored.

        Raises :class:`AuditVerificationError` unless they follow the last stored entry and each other.
        """
        lines = []
        head = self._stored_head
        for entry in entries:
            if (entry.seq, entry.previous) != (head.next_seq, head.previous):
                raise AuditVerificationError(
                    f"Entry {entry.seq} does not follow the last stored entry; expected entry {head.next_seq}."
                )
            line = encode_entry(entry)
            lines.append(line)
            head = _compute_head(entry.seq, line)
        return lines


def _require_successor(line: bytes, seq: int, previous_hash: str, source: str) -> None:
    """Raise :class:`AuditVerificationError` unless ``line`` is the entry ``seq`` that follows ``previous_hash``."""
    entry = decode_entry(line, source)
    if (entry.seq, entry.previous) != (seq, previous_hash):
        raise AuditVerificationError(
            f"Entry {seq} of the audit log does not follow the previous entry ({source}).",
            Hint.of(HintCode.VERIFY_AUDIT),
            seq=seq,
        )


def _compute_head(seq: int, line: bytes) -> LogHead:
    return LogHead(next_seq=seq + 1, previous=leaf_hash(line).hex())
