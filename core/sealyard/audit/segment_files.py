"""How the log lies on disk, and how one page of it is found without reading the rest.

A log is a folder::

    segment-000000.jsonl   entries, one RFC 8785 line each; a new segment every 65,536 entries
    checkpoints.txt        signed notes, oldest first, five lines each and nothing between them
    audit-key.pem          the public key the notes are signed with

Only whole lines count: what follows the last line feed was being written when the power went.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from sealyard.audit.encoding import decode_entry
from sealyard.model.errors import AuditVerificationError

SEGMENT_ENTRIES = 65_536
NOTE_LINES = 5
CHECKPOINTS = "checkpoints.txt"
PUBLIC_KEY = "audit-key.pem"

_BLOCK = 1 << 16
_SIGNATURE_MARK = "— ".encode()


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"segment-{number:06}.jsonl"


def segment_paths(folder: Path) -> list[Path]:
    """All segments in order. Raises :class:`AuditVerificationError` where one is missing."""
    found = sorted(folder.glob("segment-*.jsonl"))
    for number, path in enumerate(found):
        if path != segment_path(folder, number):
            raise AuditVerificationError(f"The audit log has no {segment_path(folder, number).name}, but {path.name}.")
    return found


def read_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """Whole lines from the offset ``start`` on, without their line feeds."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line[:-1]


def read_lines_backward(path: Path, end: int) -> Iterator[bytes]:
    """Whole lines that lie before ``end``, the last one first; ``end`` is an offset behind a line feed."""
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
    """The offset behind the last line feed."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def offset_of(path: Path, seq: int) -> int:
    """Where the first entry from ``seq`` on begins, by bisection: about 25 short reads in a full segment."""
    low, high = 0, last_line_end(path)
    with path.open("rb") as file:
        while low < high:
            middle = (low + high) // 2
            start = _line_start(file, middle)
            line = file.readline()
            if start >= high or decode_entry(line.rstrip(b"\n"), path.name).seq >= seq:
                high = middle
            else:
                low = start + len(line)
    return low


def last_line(folder: Path) -> tuple[Path, bytes] | None:
    """The newest whole line and the segment it lies in; None for an empty log."""
    for path in reversed(segment_paths(folder)):
        line = next(read_lines_backward(path, last_line_end(path)), None)
        if line is not None:
            return path, line
    return None


def read_notes(folder: Path) -> Iterator[str]:
    """The checkpoints as they were signed, oldest first. Raises :class:`AuditVerificationError` where they are none."""
    path = folder / CHECKPOINTS
    if not path.exists():
        return
    block: list[bytes] = []
    for line in read_lines(path):
        block.append(line + b"\n")
        if len(block) == NOTE_LINES:
            yield _note(block)
            block = []
    if any(_SIGNATURE_MARK in line for line in block):
        # Not what a crash leaves: a note is whole once its last line is.
        raise AuditVerificationError(f"{CHECKPOINTS} does not end with a whole checkpoint.")


def latest_checkpoint_note(folder: Path) -> str | None:
    """The newest checkpoint; None where nothing is sealed yet."""
    path = folder / CHECKPOINTS
    if not path.exists():
        return None
    lines = read_lines_backward(path, notes_end(path))
    block = [line + b"\n" for line in islice(lines, NOTE_LINES)]
    return _note(block[::-1]) if block else None


def notes_end(path: Path) -> int:
    """The offset behind the last whole note, which is behind its signature line."""
    end = last_line_end(path)
    for line in read_lines_backward(path, end):
        if line.startswith(_SIGNATURE_MARK):
            return end
        end -= len(line) + 1
    return 0


def append_durably(path: Path, offset: int, data: bytes) -> None:
    """Writes ``data`` at the end of the file, which must be ``offset``, and syncs it.

    Raises :class:`AuditVerificationError` where the file ends elsewhere, :class:`OSError` where the disk refuses;
    then nothing of ``data`` stays.
    """
    created = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.fstat(handle).st_size != offset:
            raise AuditVerificationError(f"{path.name} was changed by somebody else while it was open.")
        try:
            _write_all(handle, data)
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, offset)
            raise
    finally:
        os.close(handle)
    if created:
        sync_folder(path.parent)


def truncate(path: Path, end: int) -> None:
    """Removes what a crash left behind the last whole line or note."""
    if not path.exists() or path.stat().st_size == end:
        return
    with path.open("rb+") as file:
        file.truncate(end)
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes a new name in ``folder`` survive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _line_start(file: BinaryIO, offset: int) -> int:
    """Puts ``file`` at the first line that begins at ``offset`` or later; where that is."""
    if offset == 0:
        return file.seek(0)
    file.seek(offset - 1)
    file.readline()
    return file.tell()


def _note(block: list[bytes]) -> str:
    try:
        return b"".join(block).decode()
    except UnicodeDecodeError as error:
        raise AuditVerificationError(f"{CHECKPOINTS} holds something that is not text.") from error
