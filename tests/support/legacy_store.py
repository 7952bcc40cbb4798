"""Rewrite a store as earlier versions wrote it: format 1, without MACs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sealyard.storage.frame_format import EncodedBatch, Frame, split_line
from sealyard.storage.generation import LEGACY_FORMAT


def write_legacy_store(folder: Path) -> None:
    for path in folder.glob("*-*.log"):
        frames = [msgspec.json.decode(split_line(line)[1], type=Frame) for line in path.read_bytes().splitlines(True)]
        first_frame = msgspec.structs.replace(frames[0], format=LEGACY_FORMAT, previous_mac="")
        later_frames = _split_puts(frames[1:]) if path.name.startswith("snapshot") else frames[1:]
        path.write_bytes(b"".join(encode_legacy_frame(frame) for frame in (first_frame, *later_frames)))


def encode_legacy_frame(frame: Frame) -> bytes:
    encoded_json = msgspec.json.encode(frame)
    return b"%08x %b\n" % (zlib.crc32(encoded_json), encoded_json)


def _split_puts(frames: list[Frame]) -> Iterator[Frame]:
    """Yield one frame for each document, as in the snapshots of earlier versions."""
    puts = [put for frame in frames for batch in frame.units for put in batch.puts]
    for seq, put in enumerate(puts, 1):
        yield Frame(seq, units=[EncodedBatch(puts=[put])])
