"""Tests of the multipart parser."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.model.errors import InvalidInputError, TooLargeError
from sealyard.model.safe_text import escape_text
from sealyard.server.http.multipart import (
    MAX_BOUNDARY_LENGTH,
    MAX_HEADER_BYTES,
    MAX_PARTS,
    MAX_PREAMBLE_BYTES,
    MAX_TEXT_BYTES,
    FilePart,
    iter_parts,
)
from tests.support.extent import scale_examples
from tests.support.multipart_builder import BOUNDARY, FORM_TYPE, Field, build_form

names = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n%\\', exclude_categories=["Cc"]), min_size=1)
contents = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"\r", b"\n", b"--", b"\r\n--", BOUNDARY[:5].encode(), b"x", b"\r\n\r\n"]), max_size=20
).map(b"".join).filter(lambda content: f"--{BOUNDARY}".encode() not in content)
texts = st.text(st.characters(codec="utf-8"), max_size=50).filter(lambda text: BOUNDARY not in text)
fields = st.builds(Field, names, texts.map(str.encode)) | st.builds(Field, names, contents, names)


async def iter_pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    offsets = [0, *sorted(each % (len(body) + 1) for each in cuts), len(body)]
    for begin, end in itertools.pairwise(offsets):
        yield body[begin:end]


async def read_fields(body: AsyncIterator[bytes], content_type: str = FORM_TYPE) -> list[Field]:
    result = []
    async for part in iter_parts(content_type, body):
        if isinstance(part, FilePart):
            content = b"".join([each async for each in part.content])
            result.append(Field(part.name, content, part.file_name))
        else:
            result.append(Field(part.name, part.value.encode()))
    return result


def parse(body: bytes, *cuts: int, content_type: str = FORM_TYPE) -> list[Field]:
    return asyncio.run(read_fields(iter_pieces(body, list(cuts)), content_type))


@settings(max_examples=scale_examples(300), deadline=None)
@given(parts=st.lists(fields, min_size=1, max_size=6), cuts=st.lists(st.integers(0, 5000), max_size=30))
def test_form_in_arbitrary_pieces_is_parsed(parts: list[Field], cuts: list[int]) -> None:
    assert parse(build_form(parts), *cuts) == parts


def test_form_in_single_bytes_is_parsed() -> None:
    parts = [Field("name", "düne".encode()), Field("inputFiles", b"\r\n--" + bytes(range(256)), "a b.bin")]
    body = build_form(parts) + b"\r\n"
    assert parse(body, *range(len(body))) == parts


@settings(max_examples=scale_examples(300), deadline=None)
@given(
    parts=st.lists(fields, max_size=4),
    edits=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 40), st.binary(max_size=20)), max_size=4),
    cuts=st.lists(st.integers(0, 5000), max_size=10),
)
def test_damaged_form_gives_parts_or_sealyard_error(
    parts: list[Field], edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    body = build_form(parts)
    for position, size, replacement in edits:
        at = position % (len(body) + 1)
        body = body[:at] + replacement + body[at + size :]
    _parts_or_error(body, cuts)


@settings(max_examples=scale_examples(300), deadline=None)
@given(body=st.binary(max_size=2000), content_type=st.text(max_size=60) | st.just(FORM_TYPE))
def test_random_bytes_give_parts_or_sealyard_error(body: bytes, content_type: str) -> None:
    _parts_or_error(body, [7], content_type)
    _parts_or_error(f"--{BOUNDARY}\r\n".encode() + body, [7])


def _parts_or_error(body: bytes, cuts: list[int], content_type: str = FORM_TYPE) -> None:
    message = ""
    try:
        parse(body, *cuts, content_type=content_type)
    except (InvalidInputError, TooLargeError) as error:
        message = error.message
    assert message == escape_text(message)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_truncated_form_is_rejected(fraction: float) -> None:
    body = build_form([Field("name", b"a name"), Field("inputFiles", b"firmware" * 100, "f.bin")])
    with pytest.raises(InvalidInputError):
        parse(body[: int(len(body) * fraction)])


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=abc",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'a' * (MAX_BOUNDARY_LENGTH + 1)}",
    ],
)
def test_invalid_content_type_is_rejected(content_type: str) -> None:
    with pytest.raises(InvalidInputError, match="not multipart/form-data"):
        parse(build_form([Field("name", b"a")]), content_type=content_type)


@pytest.mark.parametrize("preamble", [b"\r\n", b"preamble\r\n", b"\r\n\r\n", b"a --" + BOUNDARY.encode() + b"\r\n"])
def test_preamble_is_ignored_in_any_chunks(preamble: bytes) -> None:
    body = preamble + build_form([Field("name", b"a")])
    for cuts in ([], [3], list(range(len(body)))):
        assert parse(body, *cuts) == [Field("name", b"a")]


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"x" * 100_000, b"x--" + BOUNDARY.encode()])
def test_body_without_boundary_is_rejected(body: bytes) -> None:
    for cuts in ([], [3], list(range(0, len(body), 1000))):
        with pytest.raises(InvalidInputError, match="boundary is missing"):
            parse(body, *cuts)


def test_preamble_above_limit_is_rejected() -> None:
    body = b"x" * MAX_PREAMBLE_BYTES + b"\r\n" + build_form([Field("name", b"a")])
    for cuts in ([], list(range(0, len(body), 100))):
        with pytest.raises(InvalidInputError, match="boundary is missing"):
            parse(body, *cuts)


@pytest.mark.parametrize(
    ("parameters", "file_name"),
    [
        ("filename=\"=?utf-8?B?Z3LDtsOfZS5iaW4=?=\"; filename*=utf-8''gr%C3%B6%C3%9Fe.bin", "größe.bin"),
        ('filename="=?utf-8?B?Z3LDtsOfZS5iaW4=?="', "größe.bin"),
        ('filename="=?utf-8?Q?gr=C3=B6=C3=9Fe.bin?="', "größe.bin"),
        ("filename=\"gr__e.bin\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.bin", "größe.bin"),
        ("filename*=UTF-8'de'gr%C3%B6%C3%9Fe.bin; filename=\"gr__e.bin\"", "größe.bin"),
        ("filename*=UTF-8''gr%C3%B6%C3%9Fe.bin", "größe.bin"),
        ("filename*=iso-8859-1''gr%F6%DFe.bin", "größe.bin"),
        ("filename=\"a.bin\"; filename*=utf-8''%ff", "a.bin"),
        ("filename=\"a.bin\"; filename*=nonsense''%61", "a.bin"),
        ('filename="=?nonsense?B?AAAA?="', "=?nonsense?B?AAAA?="),
        ('filename="=?utf-8?B?/w==?="', "=?utf-8?B?/w==?="),
        ('filename="a=?utf-8?B?AAAA?="', "a=?utf-8?B?AAAA?="),
    ],
)
def test_file_name_is_decoded_leniently(parameters: str, file_name: str) -> None:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=inputFile; {parameters}\r\n\r\n"
    body = head.encode() + f"x\r\n--{BOUNDARY}--\r\n".encode()
    assert parse(body) == [Field("inputFile", b"x", file_name)]


def test_size_limits_are_enforced() -> None:
    largest = [Field("name", b"x" * MAX_TEXT_BYTES)]
    assert parse(build_form(largest)) == largest
    max_parts = [Field("inputIds", b"x")] * MAX_PARTS
    assert len(parse(build_form(max_parts))) == MAX_PARTS
    too_large = [
        build_form([Field("name", b"x" * (MAX_TEXT_BYTES + 1))]),
        build_form([*max_parts, Field("inputIds", b"x")]),
        build_form([Field("n" * MAX_HEADER_BYTES, b"x")]),
        f"--{BOUNDARY}\r\n".encode() + b"X-Many: 1\r\n" * 10,
        f"--{BOUNDARY}\r\n".encode() + b"x" * 1_000_000,
    ]
    for body in too_large:
        with pytest.raises(TooLargeError):
            parse(body, *range(0, len(body), 1000))


def test_text_not_utf8_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="UTF-8"):
        parse(build_form([Field("name", b"\xff\xfe")]))


def test_unread_file_part_is_skipped() -> None:
    async def read_names() -> list[str]:
        parts = build_form([Field("first", b"x" * 100_000, "f"), Field("name", b"a"), Field("last", b"y", "g")])
        result = []
        async for part in iter_parts(FORM_TYPE, iter_pieces(parts, list(range(0, len(parts), 900)))):
            result.append(part.name)
            if isinstance(part, FilePart) and part.name == "first":
                await anext(part.content)
        return result

    assert asyncio.run(read_names()) == ["first", "name", "last"]


def test_large_file_uses_constant_memory() -> None:
    head, _, tail = build_form([Field("inputFiles", b"CONTENT", "f.bin")]).partition(b"CONTENT")
    chunk, count = b"\r\n--x" * 13107, 1000

    async def iter_body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(count):
            yield chunk
        yield tail

    async def count_bytes() -> int:
        result = 0
        async for part in iter_parts(FORM_TYPE, iter_body()):
            assert isinstance(part, FilePart)
            async for each in part.content:
                result += len(each)
        return result

    tracemalloc.start()
    try:
        assert asyncio.run(count_bytes()) == len(chunk) * count
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
