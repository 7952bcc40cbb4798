"""Read the audit log, also while another process writes it: sizes, checkpoints and pages of entries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sealyard.audit.checkpoint import parse_note
from sealyard.audit.encoding import decode_entry
from sealyard.audit.segment_files import (
    CHECKPOINTS,
    PUBLIC_KEY,
    last_line,
    last_line_end,
    latest_checkpoint_note,
    offset_of,
    read_lines,
    read_lines_backward,
    segment_paths,
)
from sealyard.model.audit import AuditEntry, AuditFilter, Checkpoint
from sealyard.model.errors import AuditVerificationError

MATCH_ALL = AuditFilter()


class AuditReader:
    """Reads the audit log in ``folder``.

    Checks only that each line is an entry and each checkpoint is well formed, and raises
    :class:`AuditVerificationError` if not; :func:`sealyard.audit.verify.verify_log` checks everything else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def size(self) -> int:
        """The number of stored entries."""
        newest_line = last_line(self.folder)
        return 0 if newest_line is None else decode_entry(newest_line[1], newest_line[0].name).seq + 1

    def last_note(self) -> str | None:
        """Return the newest checkpoint as a signed note, or ``None`` if there is none.

        Users can store the note elsewhere, and verify the log against it later.
        """
        return latest_checkpoint_note(self.folder)

    def last_checkpoint(self) -> Checkpoint | None:
        note = self.last_note()
        return None if note is None else parse_note(note)[0]

    def require_checkpoints(self) -> None:
        """Raise :class:`AuditVerificationError` if the log has entries or an audit key, but no checkpoint.

        The first checkpoint of a log is older than its key and its first entry.
        """
        is_in_use = (self.folder / PUBLIC_KEY).exists() or self.size > 0
        if is_in_use and self.last_note() is None:
            raise AuditVerificationError(
                f"The checkpoints of the audit log were removed: {CHECKPOINTS} is missing or empty.",
                "Restore the whole workspace from a backup.",
            )

    @property
    def checkpointed_size(self) -> int:
        """The number of entries that the newest checkpoint covers."""
        checkpoint = self.last_checkpoint()
        return 0 if checkpoint is None else checkpoint.size

    @property
    def uncheckpointed_count(self) -> int:
        """The number of entries that no checkpoint covers yet."""
        return self.size - self.checkpointed_size

    def entries(
        self,
        filters: AuditFilter = MATCH_ALL,
        *,
        newest_first: bool = True,
        after_seq: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Return one page: at most ``limit`` entries that match ``filters``, in the requested order.

        The page starts after the entry ``after_seq``; to get the next page, pass the ``seq`` of the last entry. Without
        filters, only the entries of the page are read. With filters that few entries match, much of the log may be
        read, so do not call this method on the event loop.
        """
        ordered_entries = self._iter_newest_first(after_seq) if newest_first else self._iter_oldest_first(after_seq)
        return list(islice((entry for entry in ordered_entries if filters.matches(entry)), limit))

    def all_entries(self, filters: AuditFilter = MATCH_ALL) -> Iterator[AuditEntry]:
        """Yield every entry that matches ``filters``, oldest first."""
        return (entry for entry in self._iter_oldest_first(None) if filters.matches(entry))

    def _iter_newest_first(self, after_seq: int | None) -> Iterator[AuditEntry]:
        for path in reversed(segment_paths(self.folder)):
            end = last_line_end(path) if after_seq is None else offset_of(path, after_seq)
            for line in read_lines_backward(path, end):
                yield decode_entry(line, path.name)

    def _iter_oldest_first(self, after_seq: int | None) -> Iterator[AuditEntry]:
        for path in segment_paths(self.folder):
            start = 0 if after_seq is None else offset_of(path, after_seq + 1)
            for line in read_lines(path, start):
                yield decode_entry(line, path.name)
