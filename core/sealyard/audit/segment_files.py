"""File layout of the audit log, and access to its lines.

A log is a folder::

    segment-000000.jsonl   entries, one line of canonical JSON (RFC 8785) each; a new segment every 65,536 entries
    checkpoints.txt        signed notes, oldest first, five lines each, without separators
    audit-key.pem          the public key that verifies the notes

Readers ignore data after the last line feed of a file, which is left if a crash or power loss interrupts a write.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from sealyard.audit.encoding import decode_entry
from sealyard.fs import atomic
from sealyard.fs.private import open_private_append
from sealyard.fs.sole_writer import concurrent_writer_error, require_sole_writer
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError

SEGMENT_ENTRIES = 65_536
NOTE_LINES = 5
CHECKPOINTS = "checkpoints.txt"
PUBLIC_KEY = "audit-key.pem"

_BLOCK = 1 << 16
_SIGNATURE_MARK = "— ".encode()


class FileState(FrozenStruct, frozen=True, kw_only=True):
    """The state in which the writer left a file: its length in bytes, and its inode, 0 if it does not exist yet."""

    length: int = 0
    inode: int = 0


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"segment-{number:06}.jsonl"


def segment_paths(folder: Path) -> list[Path]:
    """Return the paths of all segments in order. Raises :class:`AuditVerificationError` if a segment is missing."""
    paths = sorted(folder.glob("segment-*.jsonl"))
    for number, path in enumerate(paths):
        if path != segment_path(folder, number):
            raise AuditVerificationError(
                f"{segment_path(folder, number).name} of the audit log is missing; found {path.name}."
            )
    return paths


def read_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """Yield the complete lines of a file from the byte offset ``start`` on, without their line feeds."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line[:-1]


def read_lines_backward(path: Path, end: int) -> Iterator[bytes]:
    """Yield the lines of a file before the byte offset ``end``, last line first, without their line feeds.

    ``end`` must be 0 or the offset after a line feed.
    """
    with path.open("rb") as file:
        tail = b""
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            block = file.read(end - start) + tail
            head, *lines = block[:-1].split(b"\n")
            yield from reversed(lines)
            tail, end = head + b"\n", start
        if tail:
            yield tail[:-1]


def last_line_end(path: Path) -> int:
    """Return the byte offset after the last line feed of a file, or 0 if there is none."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            position = file.read(end - start).rfind(b"\n")
            if position >= 0:
                return start + position + 1
            end = start
    return 0


def offset_of(path: Path, seq: int) -> int:
    """Return the byte offset of the first entry in a segment whose sequence number is at least ``seq``.

    Bisects the segment, which takes about 25 short reads if it is full.
    """
    low, high = 0, last_line_end(path)
    with path.open("rb") as file:
        while low < high:
            middle = (low + high) // 2
            start = _seek_to_line(file, middle)
            line = file.readline()
            if start >= high or decode_entry(line.rstrip(b"\n"), path.name).seq >= seq:
                high = middle
            else:
                low = start + len(line)
    return low


def last_line(folder: Path) -> tuple[Path, bytes] | None:
    """Return the newest complete line of the log and the path of its segment, or ``None`` if the log is empty."""
    for path in reversed(segment_paths(folder)):
        line = next(read_lines_backward(path, last_line_end(path)), None)
        if line is not None:
            return path, line
    return None


def read_notes(folder: Path) -> Iterator[str]:
    """Yield the signed notes of all checkpoints, oldest first.

    Raises :class:`AuditVerificationError` if the file of checkpoints is malformed.
    """
    path = folder / CHECKPOINTS
    if not path.exists():
        return
    block: list[bytes] = []
    for line in read_lines(path):
        block.append(line + b"\n")
        if len(block) == NOTE_LINES:
            yield _decode_note(block)
            block = []
    if any(_SIGNATURE_MARK in line for line in block):
        # An incomplete note that a crash leaves has no signature, because the signature is the last line of a note.
        raise AuditVerificationError(f"{CHECKPOINTS} ends with an incomplete checkpoint.")


def latest_checkpoint_note(folder: Path) -> str | None:
    """Return the signed note of the newest checkpoint, or ``None`` if there is none."""
    path = folder / CHECKPOINTS
    if not path.exists():
        return None
    lines = read_lines_backward(path, notes_end(path))
    block = [line + b"\n" for line in islice(lines, NOTE_LINES)]
    return _decode_note(block[::-1]) if block else None


def notes_end(path: Path) -> int:
    """Return the byte offset after the signature line of the last complete note, or 0 if there is none."""
    end = last_line_end(path)
    for line in read_lines_backward(path, end):
        if line.startswith(_SIGNATURE_MARK):
            return end
        end -= len(line) + 1
    return 0


def append_durably(path: Path, state: FileState, data: bytes) -> FileState:
    """Append ``data`` to a file, sync the file, and return its new state. Creates the file if ``state`` has no inode.

    Raises :class:`ConcurrentWriterError` if another process has changed or replaced the file since ``state``, and
    ``OSError`` if the disk cannot be written. In both cases nothing is appended.
    """
    fd = _open_expected(path, state)
    try:
        require_sole_writer(path, fd, state.length)
        try:
            if not state.inode:
                atomic.sync_folder(path.parent)
            atomic.write_all(fd, data)
            atomic.sync(fd)
        except OSError:
            require_sole_writer(path, fd, state.length, data)
            atomic.truncate(fd, state.length)
            raise
        # Another writer may have passed its own check at the same time.
        require_sole_writer(path, fd, state.length + len(data))
        return FileState(length=state.length + len(data), inode=os.fstat(fd).st_ino)
    finally:
        os.close(fd)


def read_state(path: Path, length: int) -> FileState:
    """Return the state of an existing file that is used up to the byte offset ``length``."""
    return FileState(length=length, inode=path.stat().st_ino)


def _open_expected(path: Path, state: FileState) -> int:
    """Open the file to which ``state`` belongs. Raises :class:`ConcurrentWriterError` if it was replaced or removed."""
    if not state.inode:
        return open_private_append(path)
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        raise concurrent_writer_error(path) from None
    if os.fstat(fd).st_ino != state.inode:
        os.close(fd)
        raise concurrent_writer_error(path)
    return fd


def remove_partial_end(path: Path, end: int) -> None:
    """Truncate a file durably to ``end`` bytes, to remove a partial line or note that a crash left."""
    if not path.exists() or path.stat().st_size == end:
        return
    with path.open("rb+") as file:
        atomic.truncate(file.fileno(), end)
        atomic.sync(file.fileno())


def _seek_to_line(file: BinaryIO, offset: int) -> int:
    """Seek to the first line that starts at or after ``offset``, and return the new position."""
    if offset == 0:
        return file.seek(0)
    file.seek(offset - 1)
    file.readline()
    return file.tell()


def _decode_note(block: list[bytes]) -> str:
    try:
        return b"".join(block).decode()
    except UnicodeDecodeError as error:
        raise AuditVerificationError(f"{CHECKPOINTS} contains data that is not text.") from error
