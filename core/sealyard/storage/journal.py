"""The store's files: generations of a snapshot and a journal, so that a commit costs only what it changes.

Generation ``g`` is ``snapshot-g.log`` (one line for each document, as of some moment) with ``journal-g.log`` (one line
for each commit since). Both have the line format of :mod:`sealyard.storage.frame_format`. The highest ``g`` that has a
snapshot is the store; all other files were left by a crash, and the next writer removes them.

Commit: one ``write`` and one ``fdatasync`` of one frame with all pending batches. If a crash tore a write, it is at the
end of the journal, with no valid frame after it: the next writer copies those bytes to ``torn-TIME.bin`` and truncates
the journal.

New generation: its snapshot is written to a temporary name and synced; its journal, with the commits made meanwhile, is
written and synced; then one rename makes both valid. Before the rename the old generation is complete, after it the new
one, and nothing is written in between.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sealyard.fs import atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.errors import WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.storage.frame_format import (
    EncodedBatch,
    Frame,
    FrameReader,
    corrupted_error,
    encode_batches,
    encode_frame,
)

FORMAT = 1

Tables = Mapping[str, Mapping[str, bytes]]
"""Table name to document id to the document as JSON."""

_SNAPSHOT = re.compile(r"snapshot-(\d+)\.log")
_ANY_FILE = re.compile(r"(?:snapshot|journal)-(\d+)\.log(\.tmp)?")
_WRITE_CHUNK_SIZE = 1 << 20


class Position(msgspec.Struct, frozen=True):
    """A position in a journal: after frame ``seq``, at byte ``offset``."""

    generation: int
    seq: int
    offset: int


class LoadedGeneration(msgspec.Struct):
    """A generation as read from disk: its tables, and the audit entries and events of its journal, in order."""

    tables: dict[str, dict[str, bytes]]
    audit: list[bytes]
    events: list[bytes]
    position: Position
    snapshot_size: int
    torn_tail: bytes


def newest_generation(folder: Path) -> int:
    """Return the number of the newest generation; 0 if there is no store."""
    try:
        matches = [_SNAPSHOT.fullmatch(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return 0
    return max((int(match[1]) for match in matches if match), default=0)


def load(folder: Path) -> LoadedGeneration:
    """Read the newest generation without changing anything.

    Raises :class:`StoreCorruptedError` naming file and byte offset, :class:`WorkspaceError` if there is no store or it
    has a newer format, and ``FileNotFoundError`` if a compaction removed the files meanwhile.
    """
    generation = newest_generation(folder)
    if not generation:
        raise WorkspaceError(f"No store in {escape_text(str(folder))}.", "Create the workspace first.")
    snapshot = _snapshot_path(folder, generation)
    journal_seq, tables = _read_snapshot(snapshot, generation)
    snapshot_size = snapshot.stat().st_size
    path = _journal_path(folder, generation)
    data = path.read_bytes()
    frames = FrameReader(path, data, seq=journal_seq)
    audit: list[bytes] = []
    events: list[bytes] = []
    for batch in _iter_batches(_read_frames(frames, path, generation)):
        _apply(batch, tables)
        audit.extend(map(bytes, batch.audit))
        events.extend(map(bytes, batch.events))
    return LoadedGeneration(
        tables=tables,
        audit=audit,
        events=events,
        position=Position(generation, frames.next_seq - 1, frames.end),
        snapshot_size=snapshot_size,
        torn_tail=data[frames.end :],
    )


def load_since(folder: Path, position: Position) -> tuple[list[EncodedBatch], Position]:
    """Return the batches added to the journal since ``position``, and the new position.

    An unfinished last frame is left out. Raises :class:`StoreCorruptedError` if the new frames do not fit, and
    ``FileNotFoundError`` if the generation was removed; the caller then loads the whole store again.
    """
    journal = _journal_path(folder, position.generation)
    with journal.open("rb") as file:
        if file.seek(0, os.SEEK_END) < position.offset:
            raise corrupted_error(journal, position.offset, "the journal was truncated")
        file.seek(position.offset)
        frames = FrameReader(journal, file.read(), start=position.offset, seq=position.seq + 1)
    return list(_iter_batches(frames)), Position(position.generation, frames.next_seq - 1, frames.end)


class Journal:
    """Writes the journal and new generations, in one thread at a time. The caller holds the workspace lock."""

    def __init__(self, folder: Path, loaded: LoadedGeneration) -> None:
        """Open the journal of a loaded generation; use :func:`open_journal`. Raises ``OSError``."""
        self._folder = folder
        self._position = loaded.position
        self._snapshot_size = loaded.snapshot_size
        self._fd = os.open(_journal_path(folder, self._position.generation), os.O_RDWR | os.O_APPEND)
        self._needs_truncate = False  # a failed commit may have left bytes after the position
        self._needs_folder_sync = False  # the file names of the generation may not be durable yet

    @property
    def position(self) -> Position:
        return self._position

    @property
    def snapshot_size(self) -> int:
        """Size of the snapshot in bytes."""
        return self._snapshot_size

    def append(self, batches: Sequence[bytes]) -> None:
        """Commit ``batches`` (encoded :class:`EncodedBatch`) as one frame, durable on return.

        Raises :class:`StorageError` if the disk refuses the write. The journal then contains none of the batches, and
        the next commit continues from the last valid state.
        """
        position = self._position
        frame = encode_batches(position.seq + 1, batches)
        try:
            self._repair()
            self._needs_truncate = True
            atomic.write_all(self._fd, frame)
            atomic.sync(self._fd)
            self._needs_truncate = False
        except OSError as error:
            with suppress(OSError):
                self._repair()
            raise atomic.storage_error(error, "writing the change") from error
        self._position = Position(position.generation, position.seq + 1, position.offset + len(frame))

    def write_snapshot(self, position: Position, tables: Tables) -> None:
        """Write ``tables`` as of ``position`` to a temporary name, as the first half of a compaction.

        Other threads can commit meanwhile. Raises :class:`StorageError`.
        """
        try:
            _write_snapshot(self._folder, position.generation + 1, position.seq, tables)
        except OSError as error:
            atomic.remove_quietly(_temporary_path(self._folder, position.generation + 1))
            raise atomic.storage_error(error, "compacting the store") from error

    def rotate(self, position: Position, carry_over: EncodedBatch) -> None:
        """Switch to the new generation, as the second half of a compaction.

        The new journal takes ``carry_over`` and the commits since ``position``. Raises :class:`StorageError`; then the
        old generation stays in use, or, if only the last sync failed, the new one is used as soon as the disk accepts
        the sync.
        """
        generation = position.generation + 1
        try:
            new_frames = os.pread(self._fd, self._position.offset - position.offset, position.offset)
            size = _temporary_path(self._folder, generation).stat().st_size
            fd, length = _write_journal(self._folder, generation, position.seq, carry_over, new_frames)
            try:
                atomic.rename(_temporary_path(self._folder, generation), _snapshot_path(self._folder, generation))
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            atomic.remove_quietly(_journal_path(self._folder, generation))
            atomic.remove_quietly(_temporary_path(self._folder, generation))
            raise atomic.storage_error(error, "compacting the store") from error
        os.close(self._fd)
        self._fd = fd
        self._position = Position(generation, self._position.seq, length)
        self._snapshot_size = size
        self._needs_truncate, self._needs_folder_sync = False, True
        try:
            self._repair()
        except OSError as error:
            raise atomic.storage_error(error, "compacting the store") from error

    def close(self) -> None:
        os.close(self._fd)

    def _repair(self) -> None:
        """Restore the state that ``position`` describes if a failure left the files in another one."""
        if self._needs_truncate:
            atomic.truncate(self._fd, self._position.offset)
            atomic.sync(self._fd)
            self._needs_truncate = False
        if self._needs_folder_sync:
            atomic.sync_folder(self._folder)
            self._needs_folder_sync = False
            _remove_other_generations(self._folder, self._position.generation)


def open_journal(folder: Path) -> tuple[Journal, LoadedGeneration, Path | None]:
    """Open the store for writing, and create an empty one if there is none.

    The returned path is that of the quarantined torn bytes, None if there were none. Raises
    :class:`StoreCorruptedError` (nothing was changed then), :class:`WorkspaceError` and :class:`StorageError`.
    """
    try:
        make_private_dir(folder)
        if not newest_generation(folder):
            _create(folder)
        loaded = load(folder)
        torn = _quarantine(folder, loaded) if loaded.torn_tail else None
        _remove_other_generations(folder, loaded.position.generation)
        return Journal(folder, loaded), loaded, torn
    except OSError as error:
        raise atomic.storage_error(error, "opening the store") from error


def _create(folder: Path) -> None:
    _write_snapshot(folder, 1, 0, {})
    fd, _ = _write_journal(folder, 1, 0, EncodedBatch(), b"")
    os.close(fd)
    atomic.rename(_temporary_path(folder, 1), _snapshot_path(folder, 1))
    atomic.sync_folder(folder)


def _quarantine(folder: Path, loaded: LoadedGeneration) -> Path:
    """Move the torn end of the journal to a file of its own, and return its path."""
    path = folder / f"torn-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.bin"
    _write_synced(path, [loaded.torn_tail])
    atomic.sync_folder(folder)
    fd = os.open(_journal_path(folder, loaded.position.generation), os.O_WRONLY)
    try:
        atomic.truncate(fd, loaded.position.offset)
        atomic.sync(fd)
    finally:
        os.close(fd)
    return path


def _remove_other_generations(folder: Path, generation: int) -> None:
    for path in folder.iterdir():
        match = _ANY_FILE.fullmatch(path.name)
        if match and (match[2] or int(match[1]) != generation):
            atomic.remove_quietly(path)


def _read_snapshot(path: Path, generation: int) -> tuple[int, dict[str, dict[str, bytes]]]:
    """Return the sequence number of the first frame of the journal, and the tables."""
    data = path.read_bytes()
    reader = FrameReader(path, data, seq=0)
    frames = _read_frames(reader, path, generation)
    header = next(frames)
    tables: dict[str, dict[str, bytes]] = {}
    for batch in _iter_batches(frames):
        _apply(batch, tables)
    if reader.end != len(data):
        raise corrupted_error(path, reader.end, "a frame is invalid")
    if reader.next_seq - 1 != header.documents:
        raise corrupted_error(path, reader.end, f"{header.documents} documents expected, {reader.next_seq - 1} found")
    return header.journal_seq, tables


def _read_frames(reader: FrameReader, path: Path, generation: int) -> Iterator[Frame]:
    """Yield all frames, after checking that the first one belongs to ``generation``."""
    frames = iter(reader)
    header = next(frames, None)
    if header is None:
        raise corrupted_error(path, 0, "the first frame is invalid")
    _check_header(path, header, generation)
    yield header
    yield from frames


def _iter_batches(frames: Iterable[Frame]) -> Iterator[EncodedBatch]:
    return (batch for frame in frames for batch in frame.units)


def _apply(batch: EncodedBatch, tables: dict[str, dict[str, bytes]]) -> None:
    for table, identity, document in batch.puts:
        tables.setdefault(table, {})[identity] = bytes(document)
    for table, identity in batch.removes:
        tables.get(table, {}).pop(identity, None)


def _check_header(path: Path, header: Frame, generation: int) -> None:
    if header.format > FORMAT:
        raise WorkspaceError(
            f"The store has format {header.format}; this version supports formats up to {FORMAT}.",
            "Use the version of Sealyard that wrote it, or a newer one.",
        )
    if header.format != FORMAT or header.generation != generation:
        raise corrupted_error(path, 0, f"the first frame does not belong to generation {generation}")


def _write_snapshot(folder: Path, generation: int, journal_seq: int, tables: Tables) -> None:
    documents = sum(map(len, tables.values()))
    header = Frame(0, format=FORMAT, generation=generation, documents=documents, journal_seq=journal_seq)
    _write_synced(_temporary_path(folder, generation), _snapshot_lines(header, tables))


def _snapshot_lines(header: Frame, tables: Tables) -> Iterator[bytes]:
    yield encode_frame(header)
    seq = 0
    for table, documents in tables.items():
        for identity, document in documents.items():
            seq += 1
            yield encode_frame(Frame(seq, units=[EncodedBatch(puts=[(table, identity, msgspec.Raw(document))])]))


def _write_journal(
    folder: Path, generation: int, seq: int, carry_over: EncodedBatch, new_frames: bytes
) -> tuple[int, int]:
    """Write the journal of a new generation, and return its open descriptor and its length."""
    header = encode_frame(Frame(seq, units=[carry_over], format=FORMAT, generation=generation))
    fd = atomic.open_empty_file(_journal_path(folder, generation))
    try:
        atomic.write_all(fd, header + new_frames)
        atomic.sync(fd)
        # The journal's name must be durable before that of the snapshot makes the generation valid.
        atomic.sync_folder(folder)
    except OSError:
        os.close(fd)
        raise
    return fd, len(header) + len(new_frames)


def _write_synced(path: Path, lines: Iterable[bytes]) -> None:
    fd = atomic.open_empty_file(path)
    try:
        buffer = bytearray()
        for line in lines:
            buffer += line
            if len(buffer) >= _WRITE_CHUNK_SIZE:
                atomic.write_all(fd, bytes(buffer))
                buffer.clear()
        atomic.write_all(fd, bytes(buffer))
        atomic.sync(fd)
    finally:
        os.close(fd)


def _snapshot_path(folder: Path, generation: int) -> Path:
    return folder / f"snapshot-{generation}.log"


def _temporary_path(folder: Path, generation: int) -> Path:
    return folder / f"snapshot-{generation}.log.tmp"


def _journal_path(folder: Path, generation: int) -> Path:
    return folder / f"journal-{generation}.log"
