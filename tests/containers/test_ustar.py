"""Tests of metadata bundles: reproducible, readable by any tar, and parsed strictly."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.containers import ustar
from sealyard.model.errors import ContainerError, InvalidInputError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=1100)), max_size=6)
BUNDLE = ustar.pack([("a.json", b"{}"), ("b", b"")])


@given(FILES)
def test_pack_round_trips_with_predicted_size(files: list[tuple[str, bytes]]) -> None:
    packed = ustar.pack(files)
    assert ustar.unpack(packed) == tuple(files)
    assert ustar.is_archive(packed)
    assert ustar.packed_size([(name, len(content)) for name, content in files]) == len(packed)


@given(FILES)
def test_tarfile_reads_the_bundle(files: list[tuple[str, bytes]]) -> None:
    with tarfile.open(fileobj=io.BytesIO(ustar.pack(files)), mode="r:") as tar:
        members = tar.getmembers()
        contents = [file.read() for file in map(tar.extractfile, members) if file is not None]
    assert [member.name for member in members] == ["names.json", *(f"{index:03}" for index in range(len(files)))]
    assert json.loads(contents[0]) == [name for name, _ in files]
    assert contents[1:] == [content for _, content in files]
    for member in members:
        attributes = (member.mode, member.uid, member.gid, member.mtime, member.uname, member.gname, member.isreg())
        assert attributes == (0o644, 0, 0, 0, "", "", True)


@given(st.binary(max_size=2048))
def test_arbitrary_bytes_are_no_bundle(data: bytes) -> None:
    assert not ustar.is_archive(data)


def test_flipped_byte_changes_or_breaks_bundle() -> None:
    for offset in range(len(BUNDLE)):
        changed = BUNDLE[:offset] + bytes([BUNDLE[offset] ^ 1]) + BUNDLE[offset + 1 :]
        if ustar.is_archive(changed):
            assert ustar.unpack(changed) != ustar.unpack(BUNDLE)


@pytest.mark.parametrize("end", range(0, len(BUNDLE), 100))
def test_truncated_bundle_is_rejected(end: int) -> None:
    with pytest.raises(ContainerError) as caught:
        ustar.unpack(BUNDLE[:end])
    assert caught.value.part == "metadata"


def test_trailing_bytes_are_rejected() -> None:
    for suffix in (b"\0", bytes(512), b"x"):
        assert not ustar.is_archive(BUNDLE + suffix)


def test_name_count_mismatch_is_rejected() -> None:
    names = b'["a.json","b"]'
    assert not ustar.is_archive(BUNDLE.replace(names, b'["a.json"]    '))
    assert not ustar.is_archive(BUNDLE.replace(names, b'["a.jso","b" ]'))


def test_undecodable_name_is_rejected() -> None:
    with pytest.raises(InvalidInputError):
        ustar.pack([("\udc80", b"")])
