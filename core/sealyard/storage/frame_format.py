"""The line form of the store's files, so that every line can be checked by itself.

A line is ``crc SP json LF``. ``json`` is one JSON object in UTF-8 without line feeds whose first member is
``seq``; ``crc`` is the CRC-32 of its bytes (zlib, ISO 3309) as 8 lower case hex digits. A stranger checks a
file with::

    for line in open(path, "rb"):
        assert line[:9] == b"%08x " % zlib.crc32(line[9:-1])

Members of the object (absent where empty):

- ``seq``: running number, one more in each line;
- ``units``: the units of work committed together. Each has ``puts`` (``[table, id, document]``), ``removes``
  (``[table, id]``), ``audit`` (entries on their way to the audit log) and ``events`` (for catching up);
- first line of a file only: ``format``, ``generation``, and in a snapshot ``documents`` (how many) and
  ``journal_seq`` (the ``seq`` its journal begins with).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sealyard.model.errors import StoreCorruptedError
from sealyard.model.safe_text import escape_text

_CHECK = 9  # bytes before the JSON
_BEGINNING = re.compile(rb'[0-9a-f]{8} \{"seq":')


class EncodedBatch(msgspec.Struct, omit_defaults=True):
    """One unit of work as it lies in a frame: documents, entries and events stay encoded."""

    puts: list[tuple[str, str, msgspec.Raw]] = []
    removes: list[tuple[str, str]] = []
    audit: list[msgspec.Raw] = []
    events: list[msgspec.Raw] = []


class Frame(msgspec.Struct, omit_defaults=True, rename="camel"):
    """One line; ``format`` is 0 in all but the first of a file."""

    seq: int
    units: list[EncodedBatch] = []
    format: int = 0
    generation: int = 0
    documents: int = 0
    journal_seq: int = 0


_decoder = msgspec.json.Decoder(Frame)


def encode_frame(content: Frame | dict[str, Any]) -> bytes:
    """The line for ``content``; a dict must have ``seq`` first."""
    encoded = msgspec.json.encode(content)
    return b"%08x %b\n" % (zlib.crc32(encoded), encoded)


def encode_batches(seq: int, units: Sequence[bytes]) -> bytes:
    """The line for units of work that are already encoded."""
    return encode_frame({"seq": seq, "units": [msgspec.Raw(unit) for unit in units]})


def corrupted(path: Path, offset: int, what: str) -> StoreCorruptedError:
    """``offset`` in bytes from the beginning of the file."""
    return StoreCorruptedError(
        f"The store is damaged: {escape_text(path.name)} at byte {offset}: {what}.",
        "Nothing was changed. Keep a copy of the workspace and restore it from a backup.",
    )


class FrameReader:
    """Frames of ``data``, which is the file from byte ``start`` on, up to the first bad one; to be iterated once.

    ``seq`` is the number the first frame must have. What follows a bad frame is looked at too: the iteration
    ends in :class:`StoreCorruptedError` where a good one comes after it or a number is missing. Otherwise what
    is left behind ``end`` (byte of the file) is the torn tail of a write that nobody was told is done.
    """

    def __init__(self, path: Path, data: bytes, *, start: int = 0, seq: int) -> None:
        self.end = start
        self.next_seq = seq
        self._path = path
        self._data = data
        self._start = start

    def __iter__(self) -> Iterator[Frame]:
        position = 0
        while (frame_end := self._data.find(b"\n", position) + 1) > 0:
            frame = _frame(self._data[position:frame_end])
            if frame is None:
                break
            if frame.seq != self.next_seq:
                raise corrupted(self._path, self.end, f"frame {self.next_seq} is missing, {frame.seq} is in its place")
            position = frame_end
            self.next_seq += 1
            self.end = self._start + position
            yield frame
        if _has_good_frame(self._data, position):
            raise corrupted(self._path, self.end, "a frame does not check and good ones follow")


def _frame(text: bytes) -> Frame | None:
    encoded = text[_CHECK:-1]
    if text[:_CHECK] != b"%08x " % zlib.crc32(encoded):
        return None
    try:
        return _decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _has_good_frame(data: bytes, position: int) -> bool:
    # Looked for at every place where one could begin: the line feed before it may be what was damaged.
    for match in _BEGINNING.finditer(data, position):
        end = data.find(b"\n", match.start()) + 1
        if end and _frame(data[match.start() : end]) is not None:
            return True
    return False
