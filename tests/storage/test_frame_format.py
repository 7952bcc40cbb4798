"""The line form: each line checks by itself, whatever was done to the others."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import StoreCorruptedError
from sealyard.storage.frame_format import Frame, FrameReader, encode_batches, encode_frame

PATH = Path("journal-1.log")
UNITS = [b'{"puts":[["t","a",{"n":1}]]}', b'{"removes":[["t","b"]]}']


def read(data: bytes, seq: int = 1) -> tuple[list[Frame], int]:
    reader = FrameReader(PATH, data, seq=seq)
    return list(reader), reader.end


def test_a_line_can_be_checked_with_zlib_and_json_alone() -> None:
    text = encode_batches(7, UNITS)
    assert text[:9] == b"%08x " % zlib.crc32(text[9:-1])
    assert json.loads(text[9:]) == {"seq": 7, "units": [json.loads(unit) for unit in UNITS]}
    assert text.count(b"\n") == 1


def test_frames_are_read_in_order_to_the_end() -> None:
    data = encode_batches(1, UNITS[:1]) + encode_batches(2, UNITS)
    frames, end = read(data)
    assert [frame.seq for frame in frames] == [1, 2]
    assert [len(frame.units) for frame in frames] == [1, 2]
    assert end == len(data)


def test_an_unfinished_line_is_left_behind_the_end() -> None:
    first = encode_batches(1, UNITS)
    frames, end = read(first + encode_batches(2, UNITS)[:-1])
    assert len(frames) == 1
    assert end == len(first)


def test_a_missing_frame_is_damage_at_its_offset() -> None:
    first = encode_batches(1, UNITS)
    with pytest.raises(StoreCorruptedError, match=rf"journal-1\.log at byte {len(first)}: frame 2 is missing"):
        read(first + encode_batches(3, UNITS))


def test_a_repeated_frame_is_damage() -> None:
    with pytest.raises(StoreCorruptedError, match="frame 2 is missing, found frame 1"):
        read(encode_batches(1, UNITS) * 2)


def test_a_lost_line_feed_between_two_frames_is_damage_and_no_torn_tail() -> None:
    first = encode_batches(1, UNITS)
    with pytest.raises(StoreCorruptedError, match="byte 0"):
        read(first[:-1] + b"#" + encode_batches(2, UNITS))


def test_an_upper_case_checksum_does_not_check() -> None:
    text = next(text for text in (encode_batches(1, [b"{}"] * n) for n in range(9)) if text[:8] != text[:8].upper())
    assert read(text[:8].upper() + text[8:]) == ([], 0)


def test_text_in_a_document_cannot_pass_for_a_frame() -> None:
    inner = encode_batches(2, []).decode()
    torn = encode_frame({"seq": 1, "units": [{"puts": [["t", "a", {"text": inner}]]}]})[:-20]
    assert read(torn) == ([], 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_left_behind(data: bytes) -> None:
    frames, end = read(data)
    assert frames == []
    assert end == 0
