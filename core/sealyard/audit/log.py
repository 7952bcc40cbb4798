"""Write the audit log to files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sealyard.audit.merkle import Frontier
from sealyard.audit.reader import AuditReader
from sealyard.audit.segment_files import (
    CHECKPOINTS,
    PUBLIC_KEY,
    SEGMENT_ENTRIES,
    FileState,
    append_durably,
    last_line_end,
    notes_end,
    read_lines,
    read_state,
    remove_partial_end,
    segment_path,
    segment_paths,
)
from sealyard.audit.store import AuditStore
from sealyard.fs.atomic import write_atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.audit import Checkpoint
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError, StorageError
from sealyard.model.hints import Hint, HintCode


class _Segment(FrozenStruct, frozen=True, kw_only=True):
    """The segment file to which new entries are appended.

    ``entries`` is the number of entries in the file.
    """

    number: int = 0
    entries: int = 0
    file: FileState = FileState()


class AuditLog(AuditStore, AuditReader):
    """The only writer of the audit log in a folder. The caller must hold the workspace lock."""

    def __init__(self, folder: Path) -> None:
        AuditReader.__init__(self, folder)
        AuditStore.__init__(self)
        self._segment = _Segment()
        self._notes_file = FileState()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the log in ``folder`` for writing, or create an empty one in an empty folder.

        Removes a partial line or note that a crash left at the end of a file. Raises :class:`AuditVerificationError` if
        the entries do not match the newest checkpoint, or an entry after it does not follow the previous one, because
        no entry may be added to such a log.
        """
        make_private_dir(folder)
        log = cls(folder)
        log._load()
        return log

    def pin_key(self, public_key: bytes) -> None:
        path = self.folder / PUBLIC_KEY
        if not path.exists():
            with _translate_errors():
                write_atomic(path, public_key, overwrite=False)
        elif path.read_bytes() != public_key:
            raise AuditVerificationError(
                f"{PUBLIC_KEY} is not the key that signs this workspace's audit checkpoints: the folder was changed.",
                Hint.of(HintCode.VERIFY_AUDIT),
            )

    def _load(self) -> None:
        checkpoint = self._load_checkpoints()
        for number, path in enumerate(segment_paths(self.folder)):
            entry_count = self._load_lines(read_lines(path), path.name)
            self._segment = _Segment(number=number, entries=entry_count, file=read_state(path, last_line_end(path)))
        self._require_checkpointed_root(checkpoint)
        remove_partial_end(segment_path(self.folder, self._segment.number), self._segment.file.length)

    def _load_checkpoints(self) -> Checkpoint | None:
        path = self.folder / CHECKPOINTS
        if not path.exists():
            return None
        self._notes_file = read_state(path, notes_end(path))
        remove_partial_end(path, self._notes_file.length)
        checkpoint = self.last_checkpoint()
        self._checkpointed_size = 0 if checkpoint is None else checkpoint.size
        return checkpoint

    def _store_lines(self, lines: Sequence[bytes]) -> int:
        """Append lines to the segment file, and return how many; the others belong to the next one."""
        segment = self._segment
        if segment.entries >= SEGMENT_ENTRIES:
            segment = _Segment(number=segment.number + 1)
        stored_lines = lines[: SEGMENT_ENTRIES - segment.entries]
        data = b"".join(line + b"\n" for line in stored_lines)
        file = self._write(segment_path(self.folder, segment.number), segment.file, data)
        entry_count = segment.entries + len(stored_lines)
        self._segment = _Segment(number=segment.number, entries=entry_count, file=file)
        return len(stored_lines)

    def _store_note(self, note: str, tree: Frontier) -> None:  # noqa: ARG002 - a start reads all entries
        self._notes_file = self._write(self.folder / CHECKPOINTS, self._notes_file, note.encode())

    def _write(self, path: Path, state: FileState, data: bytes) -> FileState:
        with _translate_errors():
            return append_durably(path, state, data)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Convert ``OSError`` to :class:`StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Cannot write the audit log: {error.strerror}.", "Free some space, then try again."
        ) from error
