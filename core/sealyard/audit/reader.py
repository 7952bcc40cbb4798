"""Reading the log while somebody else may be writing it: sizes, checkpoints, one page of entries."""

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
    """A log as it lies on disk. Every method raises :class:`AuditVerificationError` where a file is damaged.

    Reading checks nothing but that lines are entries; :func:`sealyard.audit.verify.verify_log` checks the rest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def size(self) -> int:
        """How many entries are stored."""
        found = last_line(self.folder)
        return 0 if found is None else decode_entry(found[1], found[0].name).seq + 1

    def last_note(self) -> str | None:
        """The newest checkpoint as text, to be kept outside; None where nothing is sealed yet."""
        return latest_checkpoint_note(self.folder)

    def last_checkpoint(self) -> Checkpoint | None:
        note = self.last_note()
        return None if note is None else parse_note(note)[0]

    @property
    def checkpointed_size(self) -> int:
        """How many entries the newest checkpoint covers."""
        checkpoint = self.last_checkpoint()
        return 0 if checkpoint is None else checkpoint.size

    @property
    def uncheckpointed(self) -> int:
        return self.size - self.checkpointed_size

    def entries(
        self,
        match: AuditFilter = MATCH_ALL,
        *,
        newest_first: bool = True,
        after: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """One page: ``limit`` entries that ``match``, beyond the entry ``after`` in the order asked for.

        The next page comes after the last entry's ``seq``. A page without a filter costs the page; a filter
        that matches seldom reads on until the page is full, so call it off the event loop.
        """
        walk = self._newest_first(after) if newest_first else self._oldest_first(after)
        return list(islice((entry for entry in walk if match.matches(entry)), limit))

    def all_entries(self, match: AuditFilter = MATCH_ALL) -> Iterator[AuditEntry]:
        """Every entry that ``match``, the oldest first."""
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
