"""The store's files: generations of a snapshot and a journal. A commit only appends its changes to the journal.

Generation ``g`` consists of ``snapshot-g.log`` (one line for each document, as of its creation) and ``journal-g.log``
(one line for each commit since then). Both have the line format of :mod:`sealyard.storage.frame_format`. The newest
generation that has a snapshot is the store; a crash may leave files of others, which the next writer removes.

A commit is one ``write`` and one ``fdatasync`` of one frame with all pending batches. If a crash interrupts the write,
the end of the journal is torn, with no valid frame after it. The next writer copies the torn bytes to ``torn-TIME.bin``
and truncates the journal.

To create a new generation, its snapshot is written under a temporary name and synced; then its journal, with the
commits made meanwhile, is written and synced; then the snapshot is renamed, which makes both valid. Before the rename,
the old generation is complete; after it, the new one. No commit is written in between.
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
"""By table name and document id: the document as JSON."""

_SNAPSHOT = re.compile(r"snapshot-(\d+)\.log")
_ANY_FILE = re.compile(r"(?:snapshot|journal)-(\d+)\.log(\.tmp)?")
_WRITE_CHUNK_SIZE = 1 << 20


class Position(msgspec.Struct, frozen=True):
    """The position in the journal of a generation after frame ``seq``, which is at the byte ``offset``."""

    generation: int
    seq: int
    offset: int


class LoadedGeneration(msgspec.Struct):
    """A generation as read from disk: its tables, and the audit entries and events in its journal, in order.

    ``snapshot_size`` is in bytes. ``torn_tail`` contains the bytes after the last valid frame of the journal.
    """

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
    """Read the newest generation without changing any file.

    Raises :class:`StoreCorruptedError` if a file is damaged, :class:`WorkspaceError` if there is no store or it has a
    newer format, and ``FileNotFoundError`` if a compaction removed the files meanwhile.
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
        _apply_batch(batch, tables)
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
    """Return the batches that were appended to the journal after ``position``, and the new position.

    An incomplete last frame is ignored. Raises :class:`StoreCorruptedError` if the new frames are damaged or do not
    follow ``position``, and ``FileNotFoundError`` if the generation was removed; the caller must then load the whole
    store again.
    """
    journal = _journal_path(folder, position.generation)
    with journal.open("rb") as file:
        if file.seek(0, os.SEEK_END) < position.offset:
            raise corrupted_error(journal, position.offset, "the journal was truncated")
        file.seek(position.offset)
        frames = FrameReader(journal, file.read(), start=position.offset, seq=position.seq + 1)
    return list(_iter_batches(frames)), Position(position.generation, frames.next_seq - 1, frames.end)


class Journal:
    """Writes to the journal and creates new generations. Not thread-safe. The caller must hold the workspace lock."""

    def __init__(self, folder: Path, loaded_generation: LoadedGeneration) -> None:
        """Open the journal of a loaded generation; use :func:`open_journal` instead."""
        self._folder = folder
        self._position = loaded_generation.position
        self._snapshot_size = loaded_generation.snapshot_size
        self._fd = os.open(_journal_path(folder, self._position.generation), os.O_RDWR | os.O_APPEND)
        self._needs_truncate = False  # a failed commit may have left bytes after the position
        self._needs_folder_sync = False  # the renames of a new generation may not be durable yet

    @property
    def position(self) -> Position:
        return self._position

    @property
    def snapshot_size(self) -> int:
        """Size of the snapshot in bytes."""
        return self._snapshot_size

    def append(self, batches: Sequence[bytes]) -> None:
        """Commit ``batches`` (each an :class:`EncodedBatch` as JSON) as one frame, which is durable on return.

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
        """Write the snapshot of a new generation under a temporary name, as the first half of a compaction.

        ``tables`` are the documents as of ``position``. Another thread can call :meth:`append` meanwhile. Raises
        :class:`StorageError` if the disk refuses the write.
        """
        try:
            _write_snapshot(self._folder, position.generation + 1, position.seq, tables)
        except OSError as error:
            atomic.remove_quietly(_temporary_path(self._folder, position.generation + 1))
            raise atomic.storage_error(error, "compacting the store") from error

    def rotate(self, position: Position, carry_over: EncodedBatch) -> None:
        """Switch to the new generation, as the second half of a compaction.

        The new journal starts with ``carry_over`` and the commits since ``position``. Raises :class:`StorageError` if
        the disk refuses an operation. The old generation then stays in use, unless only the last sync failed: in that
        case the new generation is in use, and the next commit repeats the sync.
        """
        generation = position.generation + 1
        try:
            new_frames = os.pread(self._fd, self._position.offset - position.offset, position.offset)
            snapshot_size = _temporary_path(self._folder, generation).stat().st_size
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
        self._snapshot_size = snapshot_size
        self._needs_truncate, self._needs_folder_sync = False, True
        try:
            self._repair()
        except OSError as error:
            raise atomic.storage_error(error, "compacting the store") from error

    def close(self) -> None:
        os.close(self._fd)

    def _repair(self) -> None:
        """Finish what a failed operation left undone: truncate the journal to ``position``, and sync the folder."""
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

    Returns the journal, the loaded generation, and the file to which the torn end of the journal was moved, None if
    there was none. Raises :class:`StoreCorruptedError` if a file is damaged (no file is changed then),
    :class:`WorkspaceError` if the store has a newer format, and :class:`StorageError` if the disk refuses an operation.
    """
    try:
        make_private_dir(folder)
        if not newest_generation(folder):
            _create_store(folder)
        loaded_generation = load(folder)
        torn_file = _quarantine_torn_tail(folder, loaded_generation) if loaded_generation.torn_tail else None
        _remove_other_generations(folder, loaded_generation.position.generation)
        return Journal(folder, loaded_generation), loaded_generation, torn_file
    except OSError as error:
        raise atomic.storage_error(error, "opening the store") from error


def _create_store(folder: Path) -> None:
    _write_snapshot(folder, 1, 0, {})
    fd, _ = _write_journal(folder, 1, 0, EncodedBatch(), b"")
    os.close(fd)
    atomic.rename(_temporary_path(folder, 1), _snapshot_path(folder, 1))
    atomic.sync_folder(folder)


def _quarantine_torn_tail(folder: Path, loaded_generation: LoadedGeneration) -> Path:
    """Move the torn end of the journal to a file of its own, and return its path."""
    path = folder / f"torn-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.bin"
    _write_synced(path, [loaded_generation.torn_tail])
    atomic.sync_folder(folder)
    fd = os.open(_journal_path(folder, loaded_generation.position.generation), os.O_WRONLY)
    try:
        atomic.truncate(fd, loaded_generation.position.offset)
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
    """Read a snapshot; return the sequence number of the first frame of its journal, and the tables."""
    data = path.read_bytes()
    reader = FrameReader(path, data, seq=0)
    frames = _read_frames(reader, path, generation)
    header = next(frames)
    tables: dict[str, dict[str, bytes]] = {}
    for batch in _iter_batches(frames):
        _apply_batch(batch, tables)
    if reader.end != len(data):
        raise corrupted_error(path, reader.end, "a frame is invalid")
    if reader.next_seq - 1 != header.documents:
        raise corrupted_error(path, reader.end, f"{header.documents} documents expected, {reader.next_seq - 1} found")
    return header.journal_seq, tables


def _read_frames(reader: FrameReader, path: Path, generation: int) -> Iterator[Frame]:
    """Yield all frames, after checking that the first one belongs to ``generation`` and a known format."""
    frames = iter(reader)
    header = next(frames, None)
    if header is None:
        raise corrupted_error(path, 0, "the first frame is invalid")
    _check_header(path, header, generation)
    yield header
    yield from frames


def _iter_batches(frames: Iterable[Frame]) -> Iterator[EncodedBatch]:
    return (batch for frame in frames for batch in frame.units)


def _apply_batch(batch: EncodedBatch, tables: dict[str, dict[str, bytes]]) -> None:
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
    _write_synced(_temporary_path(folder, generation), _encode_snapshot(header, tables))


def _encode_snapshot(header: Frame, tables: Tables) -> Iterator[bytes]:
    yield encode_frame(header)
    seq = 0
    for table, documents in tables.items():
        for identity, document in documents.items():
            seq += 1
            yield encode_frame(Frame(seq, units=[EncodedBatch(puts=[(table, identity, msgspec.Raw(document))])]))


def _write_journal(
    folder: Path, generation: int, seq: int, carry_over: EncodedBatch, new_frames: bytes
) -> tuple[int, int]:
    """Write the journal of a new generation, and return its open file descriptor and its length in bytes."""
    header = encode_frame(Frame(seq, units=[carry_over], format=FORMAT, generation=generation))
    fd = atomic.open_empty_file(_journal_path(folder, generation))
    try:
        atomic.write_all(fd, header + new_frames)
        atomic.sync(fd)
        # The journal's directory entry must be durable before the rename of the snapshot makes the generation valid.
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
