"""The store's files: generations of a snapshot and a journal. A commit only appends its changes to the journal.

Generation ``g`` consists of ``snapshot-g.log`` (the documents as of its creation) and ``journal-g.log`` (one line for
each commit since then). Both have the line format of :mod:`sealyard.storage.frame_format`. The newest
generation that has a snapshot is the store; a crash may leave files of others, which the next writer removes.

A commit is one ``write`` and one ``fdatasync`` of one frame with all pending batches. If a crash interrupts the write,
the end of the journal is torn, with no valid frame after it. The next writer copies the torn bytes to ``torn-TIME.bin``
and truncates the journal.

To create a new generation, its snapshot is written under a temporary name and synced; then its journal, with the
commits made meanwhile, is written and synced; then the snapshot is renamed, which makes both valid. Before the rename,
the old generation is complete; after it, the new one. No commit is written in between.

The writer keeps its journal locked, in addition to the workspace lock. Because a lock can be removed or not work, it
also compares the size and the inode of the journal with the expected ones before and after each commit, and stops
writing if another process has changed the journal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sealyard.fs import atomic
from sealyard.fs.locks import wait_for_stale_lock
from sealyard.fs.sole_writer import concurrent_writer_error, require_sole_writer
from sealyard.fs.workspace_lock import lock_error
from sealyard.model.errors import ConcurrentWriterError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.frame_chain import FrameChain, StoreCredentials
from sealyard.storage.frame_format import EncodedBatch, Frame, encode_batches, encode_frame, encode_json, split_line
from sealyard.storage.generation import (
    FORMAT,
    LoadedGeneration,
    Position,
    VerifiedChain,
    journal_path,
    snapshot_path,
)
from sealyard.storage.journal_protocol import Tables

_ANY_FILE = re.compile(r"(?:snapshot|journal)-(\d+)\.log(\.tmp)?")
MIN_COMPACTION_SIZE = 16 << 20  # bytes; a smaller journal is not compacted
_SNAPSHOT_FRAME_SIZE = 64 << 10  # bytes of documents, so that the MACs of many small documents cost little


class _FileCompaction:
    """Writes the generation after the one in which ``position`` is."""

    def __init__(self, journal: FileJournal, position: Position) -> None:
        self._journal = journal
        self._position = position

    def write_snapshot(self, tables: Tables) -> None:
        self._journal.write_snapshot(self._position, tables)

    def finish(self, carry_over: EncodedBatch) -> None:
        self._journal.rotate(self._position, carry_over)


class FileJournal:
    """:class:`~sealyard.storage.journal_protocol.Journal` in a folder. The caller must hold the workspace lock."""

    def __init__(
        self, folder: Path, fd: int, loaded: LoadedGeneration, verified: VerifiedChain, credentials: StoreCredentials
    ) -> None:
        """Wrap the locked journal of a verified generation; use :mod:`sealyard.storage.opening` instead."""
        self._folder = folder
        self._position = loaded.position
        self._snapshot_size = len(loaded.snapshot)
        self._fd = fd
        self._credentials = credentials
        self._chain = verified.chain
        self._generation_mac = verified.generation_mac
        self._snapshot_chain = verified.chain  # the chain after the snapshot that write_snapshot() wrote
        self._failed_frame = b""  # a failed commit may have left a part of this frame after the position
        self._writer_error: ConcurrentWriterError | None = None
        self._needs_folder_sync = False  # the renames of a new generation may not be durable yet

    @property
    def position(self) -> Position:
        return self._position

    @property
    def needs_compaction(self) -> bool:
        return self._position.offset > max(MIN_COMPACTION_SIZE, 2 * self._snapshot_size)

    @property
    def generation(self) -> StoreGeneration:
        return StoreGeneration(number=self._position.generation, mac=self._generation_mac)

    def check(self, batch: EncodedBatch) -> None:
        """Accept every batch: a frame can contain all of JSON."""

    def append(self, batches: Sequence[EncodedBatch]) -> None:
        """Commit the batches as one frame, which is durable on return.

        Raises :class:`StorageError` if the disk refuses the write. The journal then contains none of the batches, and
        the next commit continues from the last valid state. Raises :class:`ConcurrentWriterError` if another process
        has changed the journal; this and all later calls then write nothing.
        """
        position = self._position
        chain = self._chain.copy()
        frame = encode_batches(position.seq + 1, [msgspec.json.encode(batch) for batch in batches], chain)
        end = position.offset + len(frame)
        try:
            self._require_sole_writer(position.offset)
            self._repair()
            self._failed_frame = frame
            atomic.write_all(self._fd, frame)
            atomic.sync(self._fd)
            # Another writer may have passed its own check at the same time; then this commit is not acknowledged.
            self._require_sole_writer(end)
            self._failed_frame = b""
        except OSError as error:
            with suppress(OSError):
                self._require_sole_writer(position.offset)
                self._repair()
            raise atomic.storage_error(error, "writing the change") from error
        self._chain = chain
        self._position = Position(position.generation, position.seq + 1, end)

    def require_sole_writer(self) -> None:
        """Raise :class:`ConcurrentWriterError` if another process has changed the journal.

        Raises :class:`StorageError` if the journal cannot be examined.
        """
        try:
            self._require_sole_writer(self._position.offset)
        except OSError as error:
            raise atomic.storage_error(error, "checking the journal") from error

    def start_compaction(self) -> _FileCompaction:
        self.require_sole_writer()
        return _FileCompaction(self, self._position)

    def write_snapshot(self, position: Position, tables: Tables) -> None:
        """Write the snapshot of a new generation under a temporary name, as the first half of a compaction.

        ``tables`` are the documents as of ``position``. Another thread can call :meth:`append` meanwhile. Raises
        :class:`StorageError` if the disk refuses the write.
        """
        generation = position.generation + 1
        chain = FrameChain.begin(self._credentials, generation, self._generation_mac)
        try:
            write_snapshot(self._folder, generation, position.seq, tables, self._generation_mac, chain)
            self._snapshot_chain = chain
        except OSError as error:
            atomic.remove_quietly(temporary_path(self._folder, generation))
            raise atomic.storage_error(error, "compacting the store") from error

    def rotate(self, position: Position, carry_over: EncodedBatch) -> None:
        """Switch to the new generation, as the second half of a compaction.

        The new journal starts with ``carry_over`` and the commits since ``position``. Raises :class:`StorageError` if
        the disk refuses an operation. The old generation then stays in use, unless only the last sync failed: in that
        case the new generation is in use, and the next commit repeats the sync. Raises :class:`ConcurrentWriterError`
        as :meth:`append` does.
        """
        generation = position.generation + 1
        chain = self._snapshot_chain.copy()
        self.require_sole_writer()
        try:
            new_frames = os.pread(self._fd, self._position.offset - position.offset, position.offset)
            snapshot_size = temporary_path(self._folder, generation).stat().st_size
            header = encode_journal_header(generation, position.seq, carry_over, chain)
            generation_mac = chain.mac.decode()
            content = header + _encode_again(new_frames, chain)
            fd = write_journal(self._folder, generation, content)
            try:
                atomic.rename(temporary_path(self._folder, generation), snapshot_path(self._folder, generation))
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            atomic.remove_quietly(journal_path(self._folder, generation))
            atomic.remove_quietly(temporary_path(self._folder, generation))
            raise atomic.storage_error(error, "compacting the store") from error
        os.close(self._fd)
        self._fd = fd
        self._chain, self._generation_mac = chain, generation_mac
        self._position = Position(generation, self._position.seq, len(content))
        self._snapshot_size = snapshot_size
        self._failed_frame, self._needs_folder_sync = b"", True
        try:
            self._repair()
        except OSError as error:
            raise atomic.storage_error(error, "compacting the store") from error

    @property
    def lease(self) -> None:
        """None: the lock of the workspace is sufficient."""

    def on_fenced(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        """Never call ``callback``: the workspace lock does not end while it is held."""

    def close(self) -> None:
        os.close(self._fd)

    def _require_sole_writer(self, size: int) -> None:
        """Check that only this process writes to the store, and that the journal has ``size`` bytes.

        A part of a failed commit may follow. Raises :class:`ConcurrentWriterError`, also in all
        later calls, and ``OSError`` if a file cannot be examined.
        """
        if self._writer_error is not None:
            raise self._writer_error
        path = journal_path(self._folder, self._position.generation)
        try:
            require_sole_writer(path, self._fd, size, self._failed_frame)
            next_snapshot = snapshot_path(self._folder, self._position.generation + 1)
            if next_snapshot.exists():
                raise concurrent_writer_error(next_snapshot)
        except ConcurrentWriterError as error:
            self._writer_error = error
            raise

    def _repair(self) -> None:
        """Finish what a failed operation left undone: truncate the journal to ``position``, and sync the folder."""
        if self._failed_frame:
            atomic.truncate(self._fd, self._position.offset)
            atomic.sync(self._fd)
            self._failed_frame = b""
        if self._needs_folder_sync:
            atomic.sync_folder(self._folder)
            self._needs_folder_sync = False
            remove_other_generations(self._folder, self._position.generation)


def lock_journal(fd: int) -> None:
    """Raises :class:`WorkspaceLockedError` if another process holds the lock of the journal."""
    if not wait_for_stale_lock(fd):
        raise lock_error(None)


def create_store(folder: Path, credentials: StoreCredentials) -> None:
    """Create an empty store. Raises ``OSError`` if the disk refuses an operation."""
    write_generation(folder, credentials, 1, "", {}, EncodedBatch())


def write_generation(
    folder: Path,
    credentials: StoreCredentials,
    generation: int,
    previous_mac: str,
    tables: Tables,
    carry_over: EncodedBatch,
) -> None:
    """Write a generation that becomes the store of the folder with the last operation.

    ``carry_over``: the audit entries and events that its journal starts with. Raises ``OSError`` if the disk refuses an
    operation.
    """
    chain = FrameChain.begin(credentials, generation, previous_mac)
    write_snapshot(folder, generation, 0, tables, previous_mac, chain)
    os.close(write_journal(folder, generation, encode_journal_header(generation, 0, carry_over, chain)))
    atomic.rename(temporary_path(folder, generation), snapshot_path(folder, generation))
    atomic.sync_folder(folder)


def quarantine_torn_tail(folder: Path, journal_fd: int, loaded: LoadedGeneration) -> Path:
    """Move the torn end of the journal to a file of its own, and return its path."""
    path = folder / f"torn-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.bin"
    atomic.write_synced(path, [loaded.torn_tail])
    atomic.sync_folder(folder)
    atomic.truncate(journal_fd, loaded.position.offset)
    atomic.sync(journal_fd)
    return path


def remove_other_generations(folder: Path, generation: int) -> None:
    for path in folder.iterdir():
        match = _ANY_FILE.fullmatch(path.name)
        if match and (match[2] or int(match[1]) != generation):
            atomic.remove_quietly(path)


def write_snapshot(
    folder: Path, generation: int, journal_seq: int, tables: Tables, previous_mac: str, chain: FrameChain
) -> None:
    """Write a snapshot under its temporary name, durably, and advance ``chain``, which must begin the generation."""
    documents = sum(map(len, tables.values()))
    header = Frame(
        0,
        format=FORMAT,
        generation=generation,
        documents=documents,
        journal_seq=journal_seq,
        previous_mac=previous_mac,
    )
    atomic.write_synced(temporary_path(folder, generation), _encode_snapshot(header, tables, chain))


def _encode_snapshot(header: Frame, tables: Tables, chain: FrameChain) -> Iterator[bytes]:
    yield encode_frame(header, chain)
    for seq, batch in enumerate(_iter_snapshot_batches(tables), 1):
        yield encode_frame(Frame(seq, units=[batch]), chain)


def _iter_snapshot_batches(tables: Tables) -> Iterator[EncodedBatch]:
    batch, size = EncodedBatch(puts=[]), 0
    for table, documents in tables.items():
        for identity, document in documents.items():
            batch.puts.append((table, identity, msgspec.Raw(document)))
            size += len(document)
            if size >= _SNAPSHOT_FRAME_SIZE:
                yield batch
                batch, size = EncodedBatch(puts=[]), 0
    if batch.puts:
        yield batch


def encode_journal_header(generation: int, seq: int, carry_over: EncodedBatch, chain: FrameChain) -> bytes:
    """Return the first line of a journal, whose MAC identifies the generation."""
    return encode_frame(Frame(seq, units=[carry_over], format=FORMAT, generation=generation), chain)


def _encode_again(lines: bytes, chain: FrameChain) -> bytes:
    """Return the same frames as the next ones of another chain."""
    return b"".join(encode_json(split_line(line)[1], chain) for line in lines.splitlines(keepends=True))


def write_journal(folder: Path, generation: int, content: bytes) -> int:
    """Write the journal of a new generation durably, and return its open file descriptor."""
    fd = atomic.open_empty_file(journal_path(folder, generation))
    try:
        lock_journal(fd)
        atomic.write_all(fd, content)
        atomic.sync(fd)
        # The journal's directory entry must be durable before the rename of the snapshot makes the generation valid.
        atomic.sync_folder(folder)
    except BaseException:
        os.close(fd)
        raise
    return fd


def temporary_path(folder: Path, generation: int) -> Path:
    return folder / f"snapshot-{generation}.log.tmp"
