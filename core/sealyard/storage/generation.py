"""Read and verify a generation of the store; :mod:`sealyard.storage.journal` describes its files and writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from sealyard.model.errors import StoreCorruptedError, WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.storage.frame_chain import FrameChain, StoreCredentials
from sealyard.storage.frame_format import EncodedBatch, Frame, FrameReader, corrupted_error, split_line

FORMAT = 2
LEGACY_FORMAT = 1
"""The format of earlier versions, without MACs."""

_SNAPSHOT = re.compile(r"snapshot-(\d+)\.log")


class Position(msgspec.Struct, frozen=True):
    """The position in the journal of a generation after frame ``seq``, which is at the byte ``offset``."""

    generation: int
    seq: int
    offset: int


class GenerationHeader(NamedTuple):
    """What the first frames of a generation say about it. ``previous_mac``: identifies the generation before."""

    format: int
    journal_seq: int
    previous_mac: str


class LoadedGeneration(msgspec.Struct):
    """A generation as read from disk: its tables, and the audit entries and events in its journal, in order.

    ``torn_tail`` contains the bytes after the last valid frame of the journal. ``snapshot`` and ``journal`` are the
    frames as read, for :func:`verify`.
    """

    header: GenerationHeader
    tables: dict[str, dict[str, bytes]]
    audit: list[bytes]
    events: list[bytes]
    position: Position
    torn_tail: bytes
    snapshot: bytes
    journal: bytes


def newest_generation(folder: Path) -> int:
    """Return the number of the newest generation; 0 if there is no store."""
    try:
        matches = [_SNAPSHOT.fullmatch(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return 0
    return max((int(match[1]) for match in matches if match), default=0)


def load(folder: Path) -> LoadedGeneration:
    """Read the newest generation without changing any file and without verifying its MACs.

    Raises :class:`StoreCorruptedError` if a file is damaged, :class:`WorkspaceError` if there is no store or it has a
    newer format, and ``FileNotFoundError`` if a compaction removed the files meanwhile.
    """
    generation = newest_generation(folder)
    if not generation:
        raise WorkspaceError(f"No store in {escape_text(str(folder))}.", "Create the workspace first.")
    path = snapshot_path(folder, generation)
    snapshot = path.read_bytes()
    header, tables = _read_snapshot(path, snapshot, generation)
    path = journal_path(folder, generation)
    data = path.read_bytes()
    frames = FrameReader(path, data, seq=header.journal_seq)
    audit: list[bytes] = []
    events: list[bytes] = []
    for batch in _iter_batches(_read_frames(frames, path, generation, header.format)):
        _apply_batch(batch, tables)
        audit.extend(map(bytes, batch.audit))
        events.extend(map(bytes, batch.events))
    return LoadedGeneration(
        header=header,
        tables=tables,
        audit=audit,
        events=events,
        position=Position(generation, frames.next_seq - 1, frames.end),
        torn_tail=data[frames.end :],
        snapshot=snapshot,
        journal=data[: frames.end],
    )


class VerifiedChain(NamedTuple):
    """The chain after the last frame of the journal, and the MAC that identifies the generation."""

    chain: FrameChain
    generation_mac: str


def verify(folder: Path, loaded: LoadedGeneration, credentials: StoreCredentials) -> VerifiedChain:
    """Verify the MACs of all frames of a generation, which must have :data:`FORMAT`.

    Raises :class:`StoreCorruptedError`, which names the first frame that Sealyard has not written at its place.
    """
    number, header = loaded.position.generation, loaded.header
    chain = FrameChain.begin(credentials, number, header.previous_mac)
    _verify_frames(snapshot_path(folder, number), loaded.snapshot, 0, chain)
    path = journal_path(folder, number)
    first_end = loaded.journal.index(b"\n") + 1
    _verify_frames(path, loaded.journal[:first_end], header.journal_seq, chain)
    generation_mac = chain.mac.decode()
    _verify_frames(path, loaded.journal, header.journal_seq + 1, chain, start=first_end)
    return VerifiedChain(chain, generation_mac)


def _verify_frames(path: Path, data: bytes, seq: int, chain: FrameChain, *, start: int = 0) -> None:
    while start < len(data):
        end = data.index(b"\n", start) + 1
        if not chain.verify(*split_line(data[start:end])):
            raise StoreCorruptedError(
                f"The store was changed: {escape_text(path.name)} at byte {start}: the MAC of frame {seq} is wrong."
                " Sealyard did not write this frame at this place.",
                "Find out which program changed the workspace, and restore it from a backup. Nothing was changed.",
            )
        start = end
        seq += 1


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


def _read_snapshot(path: Path, data: bytes, generation: int) -> tuple[GenerationHeader, dict[str, dict[str, bytes]]]:
    reader = FrameReader(path, data, seq=0)
    frames = _read_frames(reader, path, generation)
    first_frame = next(frames)
    tables: dict[str, dict[str, bytes]] = {}
    for batch in _iter_batches(frames):
        _apply_batch(batch, tables)
    if reader.end != len(data):
        raise corrupted_error(path, reader.end, "a frame is invalid")
    count = sum(map(len, tables.values()))
    if count != first_frame.documents:
        raise corrupted_error(path, reader.end, f"{first_frame.documents} documents expected, {count} found")
    return GenerationHeader(first_frame.format, first_frame.journal_seq, first_frame.previous_mac), tables


def _read_frames(
    reader: FrameReader, path: Path, generation: int, required_format: int | None = None
) -> Iterator[Frame]:
    """Yield all frames, after checking that the first one belongs to ``generation`` and a known format."""
    frames = iter(reader)
    header = next(frames, None)
    if header is None:
        raise corrupted_error(path, 0, "the first frame is invalid")
    _check_header(path, header, generation, required_format)
    yield header
    yield from frames


def _iter_batches(frames: Iterable[Frame]) -> Iterator[EncodedBatch]:
    return (batch for frame in frames for batch in frame.units)


def _apply_batch(batch: EncodedBatch, tables: dict[str, dict[str, bytes]]) -> None:
    for table, identity, document in batch.puts:
        tables.setdefault(table, {})[identity] = bytes(document)
    for table, identity in batch.removes:
        tables.get(table, {}).pop(identity, None)


def _check_header(path: Path, header: Frame, generation: int, required_format: int | None) -> None:
    if header.format > FORMAT:
        raise WorkspaceError(
            f"The store has format {header.format}; this version supports formats up to {FORMAT}.",
            "Use the version of Sealyard that wrote it, or a newer one.",
        )
    known_formats = (FORMAT, LEGACY_FORMAT) if required_format is None else (required_format,)
    if header.format not in known_formats or header.generation != generation:
        raise corrupted_error(path, 0, f"the first frame does not belong to generation {generation}")
