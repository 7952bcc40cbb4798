"""Read the files of the audit log, also while another process writes them: sizes, checkpoints and entries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

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
    read_notes,
    segment_paths,
)
from sealyard.audit.source import MATCH_ALL, AuditSource, StoredLine
from sealyard.model.audit import AuditEntry, AuditFilter
from sealyard.model.errors import AuditVerificationError


class AuditReader(AuditSource):
    """Reads the audit log in ``folder``."""

    CHECKPOINTS = CHECKPOINTS
    PUBLIC_KEY = PUBLIC_KEY

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def size(self) -> int:
        newest_line = last_line(self.folder)
        return 0 if newest_line is None else decode_entry(newest_line[1], newest_line[0].name).seq + 1

    def last_note(self) -> str | None:
        return latest_checkpoint_note(self.folder)

    def notes(self) -> Iterator[str]:
        return read_notes(self.folder)

    def find_public_key(self) -> bytes | None:
        path = self.folder / PUBLIC_KEY
        return path.read_bytes() if path.exists() else None

    def lines(self) -> Iterator[StoredLine]:
        paths = segment_paths(self.folder)
        for path in paths:
            for number, data in enumerate(read_lines(path), start=1):
                yield StoredLine(source=path.name, number=number, data=data)
            if path != paths[-1] and last_line_end(path) != path.stat().st_size:
                raise AuditVerificationError(f"{path.name} ends with an incomplete line, but is not the last segment.")

    def entries(
        self,
        filters: AuditFilter = MATCH_ALL,
        *,
        newest_first: bool = True,
        after_seq: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        ordered_entries = self._iter_newest_first(after_seq) if newest_first else self._iter_oldest_first(after_seq)
        return list(islice((entry for entry in ordered_entries if filters.matches(entry)), limit))

    def all_entries(self, filters: AuditFilter = MATCH_ALL) -> Iterator[AuditEntry]:
        return (entry for entry in self._iter_oldest_first(None) if filters.matches(entry))

    def close(self) -> None:
        """Do nothing: each file is closed after it was read."""

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
