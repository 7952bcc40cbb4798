"""Tests of the frame format: one line with its own checksum for each frame."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import StoreCorruptedError
from sealyard.storage.frame_format import EncodedBatch, Frame, FrameReader, encode_batches, encode_frame, split_line
from tests.support.legacy_store import encode_legacy_frame
from tests.support.store_helpers import begin_chain

PATH = Path("journal-1.log")
BATCHES = [b'{"puts":[["t","a",{"n":1}]]}', b'{"removes":[["t","b"]]}']


def encode(seq: int, batches: list[bytes]) -> bytes:
    return encode_batches(seq, batches, begin_chain())


def read_frames(data: bytes, seq: int = 1) -> tuple[list[Frame], int]:
    reader = FrameReader(PATH, data, seq=seq)
    return list(reader), reader.end


def test_frame_is_crc32_and_json_line() -> None:
    text = encode(7, BATCHES)
    assert text[:9] == b"%08x " % zlib.crc32(text[9:-1])
    assert json.loads(split_line(text)[1]) == {"seq": 7, "units": [json.loads(unit) for unit in BATCHES]}
    assert text.count(b"\n") == 1


def test_frames_are_read_in_order() -> None:
    data = encode(1, BATCHES[:1]) + encode(2, BATCHES)
    frames, end = read_frames(data)
    assert [frame.seq for frame in frames] == [1, 2]
    assert [len(frame.units) for frame in frames] == [1, 2]
    assert end == len(data)


def test_incomplete_last_line_is_ignored() -> None:
    first = encode(1, BATCHES)
    frames, end = read_frames(first + encode(2, BATCHES)[:-1])
    assert len(frames) == 1
    assert end == len(first)


def test_missing_frame_is_reported_with_offset() -> None:
    first = encode(1, BATCHES)
    with pytest.raises(StoreCorruptedError, match=rf"journal-1\.log at byte {len(first)}: frame 2 is missing"):
        read_frames(first + encode(3, BATCHES))


def test_repeated_frame_is_reported_as_corruption() -> None:
    with pytest.raises(StoreCorruptedError, match="frame 2 is missing, found frame 1"):
        read_frames(encode(1, BATCHES) * 2)


def test_missing_line_feed_is_reported_as_corruption() -> None:
    first = encode(1, BATCHES)
    with pytest.raises(StoreCorruptedError, match="byte 0"):
        read_frames(first[:-1] + b"#" + encode(2, BATCHES))


def test_upper_case_checksum_is_invalid() -> None:
    text = next(text for text in (encode(1, [b"{}"] * n) for n in range(9)) if text[:8] != text[:8].upper())
    with pytest.raises(StoreCorruptedError, match="checksum of the last frame"):
        read_frames(text[:8].upper() + text[8:])


def test_frame_inside_document_text_is_ignored() -> None:
    inner = encode(2, []).decode()
    torn_frame = encode_frame({"seq": 1, "units": [{"puts": [["t", "a", {"text": inner}]]}]}, begin_chain())[:-20]
    assert read_frames(torn_frame) == ([], 0)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_yield_no_frames(data: bytes) -> None:
    try:
        frames, end = read_frames(data)
    except StoreCorruptedError:
        assert data.endswith(b"\n")  # a complete line that is no frame is damage
        return
    assert frames == []
    assert end == 0


def test_legacy_line_with_space_at_the_end_of_a_mac_is_split() -> None:
    """Byte 73 of a line of format 1 can be a space, as after the MAC of format 2."""
    frame = Frame(1, units=[EncodedBatch(puts=[("t", "a", msgspec.Raw(b'{"text":"%b"}' % (b" {" * 40)))])])
    line = encode_legacy_frame(frame)
    assert {line[73:74], line[74:75]} == {b" ", b"{"}
    assert split_line(line) == (b"", line[9:-1])
    assert len(read_frames(line)[0]) == 1
