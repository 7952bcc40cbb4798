"""The line format of the store's files. Each line is a frame with its own checksum and MAC.

A line is ``crc SP mac SP json LF``. ``json`` is one JSON object in UTF-8 without line feeds whose first member is
``seq``; ``mac`` is the MAC of :mod:`sealyard.storage.frame_chain` as 64 lower case hex digits; ``crc`` is the CRC-32 of
both and the space between them (zlib, ISO 3309) as 8 lower case hex digits. The line feed shows that the frame is
complete. Any program can check a file for damage with::

    for line in open(path, "rb"):
        assert line[:9] == b"%08x " % zlib.crc32(line[9:-1])

Format 1, which earlier versions wrote, has no ``mac SP``.

Members of the JSON object (absent where empty):

- ``seq``: sequence number, one higher in each line;
- ``units``: the batches committed together. Each has ``puts`` (``[table, id, document]``), ``removes``
  (``[table, id]``), ``audit`` (entries pending for the audit log) and ``events`` (kept for clients that reconnect);
- first line of a file only: ``format``, ``generation``, and in a snapshot ``documents`` (how many), ``journal_seq``
  (the ``seq`` of the first line of its journal) and ``previousMac`` (identifies the generation before).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import StoreCorruptedError
from sealyard.model.safe_text import escape_text
from sealyard.storage.frame_chain import MAC_LENGTH, FrameChain

_CHECKSUM_LENGTH = 9  # bytes before the MAC, including the space
_FRAME_START = re.compile(rb'[0-9a-f]{8} (?:[0-9a-f]{64} )?\{"seq":')
_SECTOR_SIZE = 512


class EncodedBatch(msgspec.Struct, omit_defaults=True):
    """A write batch as it is stored in a frame, with encoded documents, audit entries and events."""

    puts: list[tuple[str, str, msgspec.Raw]] = []
    removes: list[tuple[str, str]] = []
    audit: list[msgspec.Raw] = []
    events: list[msgspec.Raw] = []


class Frame(msgspec.Struct, omit_defaults=True, rename="camel"):
    """One line of a file. ``format`` is 0 in all lines except the first one of a file."""

    seq: int
    units: list[EncodedBatch] = []
    format: int = 0
    generation: int = 0
    documents: int = 0
    journal_seq: int = 0
    previous_mac: str = ""


_decoder = msgspec.json.Decoder(Frame)


def encode_frame(content: Frame | dict[str, Any], chain: FrameChain) -> bytes:
    """Return ``content`` as the line that follows in ``chain``. A dict must have ``seq`` as its first key."""
    return encode_json(msgspec.json.encode(content), chain)


def encode_json(encoded_json: bytes, chain: FrameChain) -> bytes:
    """Return the line that follows in ``chain`` and has this JSON."""
    body = b"%b %b" % (chain.append(encoded_json), encoded_json)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def encode_batches(seq: int, batches: Sequence[bytes], chain: FrameChain) -> bytes:
    """Return the line of a frame with batches that are already encoded as JSON."""
    return encode_frame({"seq": seq, "units": [msgspec.Raw(batch) for batch in batches]}, chain)


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """Return the MAC and the JSON of a line; the MAC is empty in format 1."""
    json_start = _CHECKSUM_LENGTH + MAC_LENGTH + 1
    is_legacy = line[_CHECKSUM_LENGTH : _CHECKSUM_LENGTH + 1] == b"{"
    if is_legacy or line[json_start - 1 : json_start] != b" ":
        return b"", line[_CHECKSUM_LENGTH:-1]
    return line[_CHECKSUM_LENGTH : json_start - 1], line[json_start:-1]


def corrupted_error(path: Path, offset: int, problem: str) -> StoreCorruptedError:
    """Return the error for a damaged file; ``offset`` is in bytes from the beginning of the file."""
    return StoreCorruptedError(
        f"The store is damaged: {escape_text(path.name)} at byte {offset}: {problem}.",
        "Keep a copy of the workspace and restore it from a backup. Nothing was changed.",
    )


class FrameReader:
    """Iterates over the frames in ``data`` up to the first invalid one. Can be iterated only once.

    ``data`` is the content of the file from byte ``start`` on; ``seq`` is the number that the first frame must have.
    Checks sequence numbers and checksums, but not the MACs, for which the key is needed. Iteration raises
    :class:`StoreCorruptedError` if a sequence number is missing, if a valid frame follows the invalid one, or if the
    invalid frame is complete. Otherwise the bytes of the file after the offset ``end`` are the torn tail of a write
    that was never reported as durable.
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
            frame = _decode_frame(self._data[position:frame_end])
            if frame is None:
                break
            if frame.seq != self.next_seq:
                raise corrupted_error(
                    self._path, self.end, f"frame {self.next_seq} is missing, found frame {frame.seq}"
                )
            position = frame_end
            self.next_seq += 1
            self.end = self._start + position
            yield frame
        if _has_valid_frame(self._data, position):
            raise corrupted_error(self._path, self.end, "an invalid frame is followed by valid ones")
        if _is_complete(self._data[position:], self.end):
            raise corrupted_error(self._path, self.end, "the checksum of the last frame is wrong")


def _decode_frame(line: bytes) -> Frame | None:
    if line[:_CHECKSUM_LENGTH] != b"%08x " % zlib.crc32(line[_CHECKSUM_LENGTH:-1]):
        return None
    _, encoded_json = split_line(line)
    try:
        return _decoder.decode(encoded_json)
    except JSON_ERRORS:
        return None


def _is_complete(frame: bytes, offset: int) -> bool:
    """Return whether an invalid last frame was written completely, so that it was damaged afterwards.

    An interrupted write leaves a frame without its line feed, or with sectors of zeros, which JSON never contains.
    ``offset``: where the frame begins in its file.
    """
    if not frame or _has_unwritten_sectors(frame, offset):
        return False
    return frame.endswith(b"\n") or _decode_frame(frame[:-1] + b"\n") is not None


def _has_unwritten_sectors(frame: bytes, offset: int) -> bool:
    """Return whether the frame has zeros where the disk has not written it: in whole sectors.

    The zeros begin with the frame or at the begin of a sector, and reach to the end of a sector or of the frame. More
    than one zero at the end of the frame counts as well, because some file systems extend files byte by byte.
    """
    if frame.endswith(b"\0\0"):
        return True
    for match in re.finditer(rb"\0+", frame):
        starts_sector = match.start() == 0 or (offset + match.start()) % _SECTOR_SIZE == 0
        ends_sector = match.end() == len(frame) or (offset + match.end()) % _SECTOR_SIZE == 0
        if starts_sector and ends_sector:
            return True
    return False


def _has_valid_frame(data: bytes, position: int) -> bool:
    # Search every possible start of a frame, not only line starts: the damage may be in the preceding line feed.
    for match in _FRAME_START.finditer(data, position):
        end = data.find(b"\n", match.start()) + 1
        if end and _decode_frame(data[match.start() : end]) is not None:
            return True
    return False
