"""Read the audit log, also while another process writes it: sizes, checkpoints and pages of entries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sealyard.audit.checkpoint import parse_note
from sealyard.audit.encoding import decode_entry
from sealyard.audit.segment_files import (
    last_line,
    last_line_end,
    latest_checkpoint_note,
    offset_of,
    read_lines,
    read_lines_backward,
    segment_paths,
)
from sealyard.model.audit import AuditEntry, AuditFilter, Checkpoint

MATCH_ALL = AuditFilter()


class AuditReader:
    """Reads the audit log in ``folder``. Every method raises :class:`AuditVerificationError` if a file is damaged.

    Reading checks only that each line is an entry; :func:`sealyard.audit.verify.verify_log` checks everything else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def size(self) -> int:
        """The number of stored entries."""
        newest = last_line(self.folder)
        return 0 if newest is None else decode_entry(newest[1], newest[0].name).seq + 1

    def last_note(self) -> str | None:
        """Return the newest checkpoint as a signed note, which users can keep outside; ``None`` if there is none."""
        return latest_checkpoint_note(self.folder)

    def last_checkpoint(self) -> Checkpoint | None:
        note = self.last_note()
        return None if note is None else parse_note(note)[0]

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
        match: AuditFilter = MATCH_ALL,
        *,
        newest_first: bool = True,
        after: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Return one page: at most ``limit`` entries that ``match``, after the entry ``after`` in the requested order.

        To get the next page, pass the ``seq`` of the last entry as ``after``. Without a filter, only the page itself is
        read. A filter that matches few entries reads until the page is full, so do not call this on the event loop.
        """
        ordered_entries = self._newest_first(after) if newest_first else self._oldest_first(after)
        return list(islice((entry for entry in ordered_entries if match.matches(entry)), limit))

    def all_entries(self, match: AuditFilter = MATCH_ALL) -> Iterator[AuditEntry]:
        """Yield every entry that ``match`` accepts, oldest first."""
        return (entry for entry in self._oldest_first(None) if match.matches(entry))

    def _newest_first(self, after: int | None) -> Iterator[AuditEntry]:
        for path in reversed(segment_paths(self.folder)):
            end = last_line_end(path) if after is None else offset_of(path, after)
            for line in read_lines_backward(path, end):
                yield decode_entry(line, path.name)

    def _oldest_first(self, after: int | None) -> Iterator[AuditEntry]:
        for path in segment_paths(self.folder):
            start = 0 if after is None else offset_of(path, after + 1)
            for line in read_lines(path, start):
                yield decode_entry(line, path.name)
