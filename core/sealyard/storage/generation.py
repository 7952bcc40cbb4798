"""Read a generation of the store; :mod:`sealyard.storage.journal` describes its files and writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from sealyard.model.errors import WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.storage.frame_format import EncodedBatch, Frame, FrameReader, corrupted_error

FORMAT = 1

Tables = Mapping[str, Mapping[str, bytes]]
"""By table name and document id: the document as JSON."""

_SNAPSHOT = re.compile(r"snapshot-(\d+)\.log")


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
    snapshot = snapshot_path(folder, generation)
    journal_seq, tables = _read_snapshot(snapshot, generation)
    snapshot_size = snapshot.stat().st_size
    path = journal_path(folder, generation)
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
    journal = journal_path(folder, position.generation)
    with journal.open("rb") as file:
        if file.seek(0, os.SEEK_END) < position.offset:
            raise corrupted_error(journal, position.offset, "the journal was truncated")
        file.seek(position.offset)
        frames = FrameReader(journal, file.read(), start=position.offset, seq=position.seq + 1)
    return list(_iter_batches(frames)), Position(position.generation, frames.next_seq - 1, frames.end)


def snapshot_path(folder: Path, generation: int) -> Path:
    return folder / f"snapshot-{generation}.log"


def journal_path(folder: Path, generation: int) -> Path:
    return folder / f"journal-{generation}.log"


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
