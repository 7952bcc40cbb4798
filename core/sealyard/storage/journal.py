"""The store's files: generations of a snapshot and a journal, so that a commit costs what it changes.

Generation ``g`` is ``snapshot-g.log`` (one line for each document, as of some moment) with ``journal-g.log``
(one line for each commit since). Both have the line form of :mod:`sealyard.storage.frame_format`. The highest ``g``
that has a snapshot is the store; anything else is left over from a crash and removed by the next writer.

Commit: one ``write`` and one ``fdatasync`` of one frame with all units waiting. What a crash tore is at the
end, with no good frame after it: the next writer keeps those bytes aside in ``torn-TIME.bin`` and cuts them.

A new generation: its snapshot is written to a temporary name and synced; its journal, with what came in
meanwhile, is written and synced; then one rename makes both valid. Before it the old generation is whole,
after it the new one, and nothing is written in between.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sealyard.fs import atomic as disk
from sealyard.model.errors import WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.storage.frame_format import EncodedBatch, Frame, FrameReader, corrupted, encode_batches, encode_frame

FORMAT = 1

Tables = Mapping[str, Mapping[str, bytes]]
"""Table name to document id to the document as JSON."""

_SNAPSHOT = re.compile(r"snapshot-(\d+)\.log")
_ANY_FILE = re.compile(r"(?:snapshot|journal)-(\d+)\.log(\.tmp)?")
_WRITE_AT_ONCE = 1 << 20


class Position(msgspec.Struct, frozen=True):
    """A place in a journal: after frame ``seq``, at byte ``offset``."""

    generation: int
    seq: int
    offset: int


class LoadedGeneration(msgspec.Struct):
    """A generation as read: its tables, and the audit entries and events its journal holds, in order."""

    tables: dict[str, dict[str, bytes]]
    audit: list[bytes]
    events: list[bytes]
    position: Position
    snapshot_size: int
    truncated_at: bytes


def newest_generation(folder: Path) -> int:
    """0 where there is no store."""
    try:
        found = [_SNAPSHOT.fullmatch(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return 0
    return max((int(match[1]) for match in found if match), default=0)


def load(folder: Path) -> LoadedGeneration:
    """Reads the newest generation; changes nothing.

    Raises :class:`StoreCorruptedError` naming file and byte offset, :class:`WorkspaceError` where there is no
    store or one of a newer format, and ``FileNotFoundError`` where a compaction took the files away meanwhile.
    """
    generation = newest_generation(folder)
    if not generation:
        raise WorkspaceError(f"There is no store in {escape_text(str(folder))}.", "Create the workspace first.")
    snapshot = _snapshot(folder, generation)
    journal_seq, tables = _read_snapshot(snapshot, generation)
    snapshot_size = snapshot.stat().st_size
    path = _journal(folder, generation)
    data = path.read_bytes()
    frames = FrameReader(path, data, seq=journal_seq)
    audit: list[bytes] = []
    events: list[bytes] = []
    for unit in _units(_read_checked(frames, path, generation)):
        _apply(unit, tables)
        audit.extend(map(bytes, unit.audit))
        events.extend(map(bytes, unit.events))
    return LoadedGeneration(
        tables=tables,
        audit=audit,
        events=events,
        position=Position(generation, frames.next_seq - 1, frames.end),
        snapshot_size=snapshot_size,
        truncated_at=data[frames.end :],
    )


def load_since(folder: Path, position: Position) -> tuple[list[EncodedBatch], Position]:
    """What the journal gained since ``position``; an unfinished last frame is not there yet.

    Raises :class:`StoreCorruptedError` where what follows does not fit, and ``FileNotFoundError`` where the
    generation is gone: then everything must be loaded anew.
    """
    journal = _journal(folder, position.generation)
    with journal.open("rb") as file:
        if file.seek(0, os.SEEK_END) < position.offset:
            raise corrupted(journal, position.offset, "the journal has become shorter")
        file.seek(position.offset)
        frames = FrameReader(journal, file.read(), start=position.offset, seq=position.seq + 1)
    return list(_units(frames)), Position(position.generation, frames.next_seq - 1, frames.end)


class Journal:
    """The writing side, for one thread at a time. The caller holds the workspace's lock."""

    def __init__(self, folder: Path, loaded: LoadedGeneration) -> None:
        """Raises ``OSError``. Use :func:`open_journal`."""
        self._folder = folder
        self._position = loaded.position
        self._snapshot_size = loaded.snapshot_size
        self._fd = os.open(_journal(folder, self._position.generation), os.O_RDWR | os.O_APPEND)
        self._to_cut = False  # bytes of a failed commit may stand behind the position
        self._to_sync = False  # the names of the generation may not be on the disk yet

    @property
    def position(self) -> Position:
        return self._position

    @property
    def snapshot_size(self) -> int:
        """In bytes."""
        return self._snapshot_size

    def append(self, units: Sequence[bytes]) -> None:
        """Commits ``units`` (encoded :class:`EncodedBatch`) as one frame: durable on return.

        Raises :class:`StorageError` where the disk refuses; then nothing of them is in the journal, and the
        next commit is tried from the last good state.
        """
        at = self._position
        frame = encode_batches(at.seq + 1, units)
        try:
            self._settle()
            self._to_cut = True
            disk.write_all(self._fd, frame)
            disk.sync(self._fd)
            self._to_cut = False
        except OSError as error:
            with suppress(OSError):
                self._settle()
            raise disk.storage_error(error, "the change") from error
        self._position = Position(at.generation, at.seq + 1, at.offset + len(frame))

    def write_snapshot(self, at: Position, tables: Tables) -> None:
        """First half of a compaction, beside running commits: ``tables`` as of ``at``, to a temporary name."""
        try:
            _write_snapshot(self._folder, at.generation + 1, at.seq, tables)
        except OSError as error:
            disk.remove_quietly(_temporary(self._folder, at.generation + 1))
            raise disk.storage_error(error, "the compacted store") from error

    def rotate(self, at: Position, carried: EncodedBatch) -> None:
        """Second half: takes over ``carried`` and the commits since ``at``, and goes on in the new generation.

        Raises :class:`StorageError`; then the old generation goes on, or, if only the last sync failed, the
        new one as soon as the disk takes it.
        """
        generation = at.generation + 1
        try:
            since = os.pread(self._fd, self._position.offset - at.offset, at.offset)
            size = _temporary(self._folder, generation).stat().st_size
            fd, length = _write_journal(self._folder, generation, at.seq, carried, since)
            try:
                disk.rename(_temporary(self._folder, generation), _snapshot(self._folder, generation))
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            disk.remove_quietly(_journal(self._folder, generation))
            disk.remove_quietly(_temporary(self._folder, generation))
            raise disk.storage_error(error, "the compacted store") from error
        os.close(self._fd)
        self._fd = fd
        self._position = Position(generation, self._position.seq, length)
        self._snapshot_size = size
        self._to_cut, self._to_sync = False, True
        try:
            self._settle()
        except OSError as error:
            raise disk.storage_error(error, "the compacted store") from error

    def close(self) -> None:
        os.close(self._fd)

    def _settle(self) -> None:
        """Puts the files into the state that ``position`` describes, where a failure left them otherwise."""
        if self._to_cut:
            disk.truncate(self._fd, self._position.offset)
            disk.sync(self._fd)
            self._to_cut = False
        if self._to_sync:
            disk.sync_folder(self._folder)
            self._to_sync = False
            _remove_others(self._folder, self._position.generation)


def open_journal(folder: Path) -> tuple[Journal, LoadedGeneration, Path | None]:
    """Opens the store for writing, and makes an empty one where there is none.

    The path is that of the torn bytes that were kept aside, if there were any. Raises
    :class:`StoreCorruptedError` (nothing is changed then), :class:`WorkspaceError` and :class:`StorageError`.
    """
    try:
        disk.make_private_dir(folder)
        if not newest_generation(folder):
            _create(folder)
        loaded = load(folder)
        torn = _quarantine(folder, loaded) if loaded.truncated_at else None
        _remove_others(folder, loaded.position.generation)
        return Journal(folder, loaded), loaded, torn
    except OSError as error:
        raise disk.storage_error(error, "opening the store") from error


def _create(folder: Path) -> None:
    _write_snapshot(folder, 1, 0, {})
    fd, _ = _write_journal(folder, 1, 0, EncodedBatch(), b"")
    os.close(fd)
    disk.rename(_temporary(folder, 1), _snapshot(folder, 1))
    disk.sync_folder(folder)


def _quarantine(folder: Path, loaded: LoadedGeneration) -> Path:
    path = folder / f"torn-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.bin"
    _write_synced(path, [loaded.truncated_at])
    disk.sync_folder(folder)
    fd = os.open(_journal(folder, loaded.position.generation), os.O_WRONLY)
    try:
        disk.truncate(fd, loaded.position.offset)
        disk.sync(fd)
    finally:
        os.close(fd)
    return path


def _remove_others(folder: Path, generation: int) -> None:
    for path in folder.iterdir():
        match = _ANY_FILE.fullmatch(path.name)
        if match and (match[2] or int(match[1]) != generation):
            disk.remove_quietly(path)


def _read_snapshot(path: Path, generation: int) -> tuple[int, dict[str, dict[str, bytes]]]:
    """With which frame the journal begins, and the tables."""
    data = path.read_bytes()
    reader = FrameReader(path, data, seq=0)
    frames = _read_checked(reader, path, generation)
    header = next(frames)
    tables: dict[str, dict[str, bytes]] = {}
    for unit in _units(frames):
        _apply(unit, tables)
    if reader.end != len(data):
        raise corrupted(path, reader.end, "a frame does not check")
    if reader.next_seq - 1 != header.documents:
        raise corrupted(path, reader.end, f"{header.documents} documents expected, {reader.next_seq - 1} found")
    return header.journal_seq, tables


def _read_checked(reader: FrameReader, path: Path, generation: int) -> Iterator[Frame]:
    """All frames, the first one known to be that of ``generation``."""
    frames = iter(reader)
    header = next(frames, None)
    if header is None:
        raise corrupted(path, 0, "the first frame does not check")
    _check_header(path, header, generation)
    yield header
    yield from frames


def _units(frames: Iterable[Frame]) -> Iterator[EncodedBatch]:
    return (unit for frame in frames for unit in frame.units)


def _apply(unit: EncodedBatch, tables: dict[str, dict[str, bytes]]) -> None:
    for table, identity, document in unit.puts:
        tables.setdefault(table, {})[identity] = bytes(document)
    for table, identity in unit.removes:
        tables.get(table, {}).pop(identity, None)


def _check_header(path: Path, header: Frame, generation: int) -> None:
    if header.format > FORMAT:
        raise WorkspaceError(
            f"The store is of format {header.format}; this version knows formats up to {FORMAT}.",
            "Use the version of Sealyard that wrote it, or a newer one.",
        )
    if header.format != FORMAT or header.generation != generation:
        raise corrupted(path, 0, f"the first frame is not that of generation {generation}")


def _write_snapshot(folder: Path, generation: int, journal_seq: int, tables: Tables) -> None:
    documents = sum(map(len, tables.values()))
    header = Frame(0, format=FORMAT, generation=generation, documents=documents, journal_seq=journal_seq)
    _write_synced(_temporary(folder, generation), _snapshot_lines(header, tables))


def _snapshot_lines(header: Frame, tables: Tables) -> Iterator[bytes]:
    yield encode_frame(header)
    seq = 0
    for table, documents in tables.items():
        for identity, document in documents.items():
            seq += 1
            yield encode_frame(Frame(seq, units=[EncodedBatch(puts=[(table, identity, msgspec.Raw(document))])]))


def _write_journal(folder: Path, generation: int, seq: int, carried: EncodedBatch, since: bytes) -> tuple[int, int]:
    """The open file and its length."""
    header = encode_frame(Frame(seq, units=[carried], format=FORMAT, generation=generation))
    fd = disk.create_private_file(_journal(folder, generation))
    try:
        disk.write_all(fd, header + since)
        disk.sync(fd)
        # The journal's name must be there before the snapshot's makes the generation valid.
        disk.sync_folder(folder)
    except OSError:
        os.close(fd)
        raise
    return fd, len(header) + len(since)


def _write_synced(path: Path, lines: Iterable[bytes]) -> None:
    fd = disk.create_private_file(path)
    try:
        buffer = bytearray()
        for each in lines:
            buffer += each
            if len(buffer) >= _WRITE_AT_ONCE:
                disk.write_all(fd, bytes(buffer))
                buffer.clear()
        disk.write_all(fd, bytes(buffer))
        disk.sync(fd)
    finally:
        os.close(fd)


def _snapshot(folder: Path, generation: int) -> Path:
    return folder / f"snapshot-{generation}.log"


def _temporary(folder: Path, generation: int) -> Path:
    return folder / f"snapshot-{generation}.log.tmp"


def _journal(folder: Path, generation: int) -> Path:
    return folder / f"journal-{generation}.log"
