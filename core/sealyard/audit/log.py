"""Writing the log: entries are drafted on the engine's loop, stored after their commit, sealed by the worker.

Nothing here can change or remove an entry once it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sealyard.audit.checkpoint import parse_note
from sealyard.audit.encoding import encode_entry
from sealyard.audit.merkle import EMPTY_ROOT, Frontier, leaf_hash
from sealyard.audit.reader import AuditReader
from sealyard.audit.segment_files import (
    CHECKPOINTS,
    PUBLIC_KEY,
    SEGMENT_ENTRIES,
    append_durably,
    last_line_end,
    notes_end,
    read_lines,
    segment_path,
    segment_paths,
    truncate,
)
from sealyard.model.audit import GENESIS_HASH, AuditAction, AuditEntry, Checkpoint
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError, StorageError


class LogHead(FrozenStruct, frozen=True, kw_only=True):
    """Where the next entry goes: its number, and the leaf hash (hex) of the entry before it."""

    next_seq: int
    previous: str


class _Segment(FrozenStruct, frozen=True, kw_only=True):
    """The segment that is appended to; ``length`` in bytes."""

    number: int = 0
    entries: int = 0
    length: int = 0


class AuditLog(AuditReader):
    """The one writer of a log; the caller holds the workspace's lock.

    Two lives side by side. The *head* is in memory and moves when an entry is drafted; if the unit of work it
    belongs to fails to commit, :meth:`reset_head` puts it back. The *stored* log is on disk and grows by
    :meth:`store`, after the commit, as often as one likes. ``draft`` and ``reset_head`` belong to one thread,
    ``store``, ``checkpoint`` and ``add_checkpoint`` to one thread, which may be another.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._tree = Frontier()
        self._stored = LogHead(next_seq=0, previous=GENESIS_HASH)
        self._head = self._stored
        self._segment = _Segment()
        self._sealed = 0
        self._notes_length = 0
        self._roots: dict[int, str] = {}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens the log for writing; makes an empty one in an empty folder.

        What a crash left half written at the end is cut. Raises :class:`AuditVerificationError` where the entries are
        not those that the newest checkpoint seals: nothing may be added to such a log.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = cls(folder)
        log._load()
        return log

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
    def sealed_size(self) -> int:
        return self._sealed

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
    ) -> AuditEntry:
        """The next entry, to be committed with the unit of work and stored after it; nothing is written.

        ``timestamp`` has a time zone. Raises :class:`InvalidInputError` for what cannot be written as JSON; the head
        has not moved then.
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
        )
        self._head = _head_after(entry.seq, encode_entry(entry))
        return entry

    def rollback(self, head: LogHead) -> None:
        """Takes back what was drafted since ``head`` was read: its unit of work was not committed."""
        if not self._stored.next_seq <= head.next_seq <= self._head.next_seq:
            raise AuditVerificationError("Entries that are stored, or were never drafted, cannot be taken back.")
        self._head = head

    def append(self, entries: Iterable[AuditEntry]) -> None:
        """Appends those entries that are not stored yet, in order, and syncs them.

        Raises :class:`AuditVerificationError` for a gap or an entry that does not follow the one before, and
        :class:`StorageError` where the disk refuses; what came before is stored then.
        """
        waiting = [entry for entry in entries if entry.seq >= self.size]
        while waiting:
            if self._segment.entries >= SEGMENT_ENTRIES:
                self._segment = _Segment(number=self._segment.number + 1)
            room = SEGMENT_ENTRIES - self._segment.entries
            self._append(waiting[:room])
            waiting = waiting[room:]
        if self._head.next_seq < self._stored.next_seq:
            self._head = self._stored

    def checkpoint(self, origin: str) -> Checkpoint:
        """The state of the stored log, to be signed; ``origin`` is ``sealyard/<workspace id>``."""
        self._roots[self.size] = self.root
        return Checkpoint(origin=origin, size=self.size, root=self.root)

    def append_checkpoint(self, note: str) -> None:
        """Keeps the signed note of a :meth:`checkpoint`. Raises :class:`AuditVerificationError` where it is of none.

        Its signature was checked where it was made, in the worker, and is checked by ``verify``.
        """
        checkpoint, _ = parse_note(note)
        if self._roots.get(checkpoint.size) != checkpoint.root or checkpoint.size < self._sealed:
            raise AuditVerificationError(f"No checkpoint of size {checkpoint.size} was asked for.")
        data = note.encode()
        self._write(self.folder / CHECKPOINTS, self._notes_length, data)
        self._notes_length += len(data)
        self._sealed = checkpoint.size
        self._roots = {size: root for size, root in self._roots.items() if size > checkpoint.size}

    def pin_key(self, public_key: bytes) -> None:
        """Writes the audit key (PEM) beside the log. Raises :class:`AuditVerificationError` where there is another
        one.
        """
        path = self.folder / PUBLIC_KEY
        if not path.exists():
            self._write(path, 0, public_key)
        elif path.read_bytes() != public_key:
            raise AuditVerificationError(
                f"{PUBLIC_KEY} is not the key this workspace seals its audit log with.",
                "Look with `sealyard audit verify` at who changed the folder before anything is added.",
            )

    def _load(self) -> None:
        checkpoint = self._open_checkpoints()
        sealed_root = EMPTY_ROOT
        for number, path in enumerate(segment_paths(self.folder)):
            before, line = self._tree.size, b""
            for line in read_lines(path):
                self._tree.append(leaf_hash(line))
                if self._tree.size == self._sealed:
                    sealed_root = self._tree.root()
            entries = self._tree.size - before
            self._segment = _Segment(number=number, entries=entries, length=last_line_end(path))
            if entries:
                self._stored = self._head = _head_after(self._tree.size - 1, line)
        if checkpoint is not None and sealed_root.hex() != checkpoint.root:
            raise AuditVerificationError(
                f"The first {checkpoint.size} entries of the audit log are not those that were sealed.",
                "`sealyard audit verify` names the first one that does not fit.",
            )
        truncate(segment_path(self.folder, self._segment.number), self._segment.length)

    def _open_checkpoints(self) -> Checkpoint | None:
        path = self.folder / CHECKPOINTS
        if not path.exists():
            return None
        self._notes_length = notes_end(path)
        truncate(path, self._notes_length)
        checkpoint = self.last_checkpoint()
        self._sealed = 0 if checkpoint is None else checkpoint.size
        return checkpoint

    def _append(self, entries: Sequence[AuditEntry]) -> None:
        lines = []
        stored = self._stored
        for entry in entries:
            if (entry.seq, entry.previous) != (stored.next_seq, stored.previous):
                raise AuditVerificationError(f"Entry {entry.seq} does not follow the {stored.next_seq} entries stored.")
            line = encode_entry(entry)
            lines.append(line)
            stored = _head_after(entry.seq, line)
        segment = self._segment
        data = b"".join(line + b"\n" for line in lines)
        self._write(segment_path(self.folder, segment.number), segment.length, data)
        for line in lines:
            self._tree.append(leaf_hash(line))
        self._stored = stored
        self._segment = _Segment(
            number=segment.number, entries=segment.entries + len(lines), length=segment.length + len(data)
        )

    def _write(self, path: Path, offset: int, data: bytes) -> None:
        try:
            append_durably(path, offset, data)
        except OSError as error:
            raise StorageError(
                f"The audit log could not be written: {error.strerror}.", "Free some space, then try again."
            ) from error


def _head_after(seq: int, line: bytes) -> LogHead:
    return LogHead(next_seq=seq + 1, previous=leaf_hash(line).hex())
