"""Forms as they come in: cut anywhere they say the same; anything else is refused in our words."""

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
from tests.support.multipart_builder import BOUNDARY, FORM_TYPE, Field, build_form

names = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n%\\', exclude_categories=["Cc"]), min_size=1)
contents = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"\r", b"\n", b"--", b"\r\n--", BOUNDARY[:5].encode(), b"x", b"\r\n\r\n"]), max_size=20
).map(b"".join).filter(lambda content: f"--{BOUNDARY}".encode() not in content)
texts = st.text(st.characters(codec="utf-8"), max_size=50).filter(lambda text: BOUNDARY not in text)
fields = st.builds(Field, names, texts.map(str.encode)) | st.builds(Field, names, contents, names)


async def pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    places = [0, *sorted(each % (len(body) + 1) for each in cuts), len(body)]
    for begin, end in itertools.pairwise(places):
        yield body[begin:end]


async def read(body: AsyncIterator[bytes], content_type: str = FORM_TYPE) -> list[Field]:
    found = []
    async for part in iter_parts(content_type, body):
        if isinstance(part, FilePart):
            content = b"".join([each async for each in part.content])
            found.append(Field(part.name, content, part.file_name))
        else:
            found.append(Field(part.name, part.value.encode()))
    return found


def parsed(body: bytes, *cuts: int, content_type: str = FORM_TYPE) -> list[Field]:
    return asyncio.run(read(pieces(body, list(cuts)), content_type))


@settings(max_examples=300, deadline=None)
@given(sent=st.lists(fields, min_size=1, max_size=6), cuts=st.lists(st.integers(0, 5000), max_size=30))
def test_a_form_cut_anywhere_gives_the_parts_that_were_sent(sent: list[Field], cuts: list[int]) -> None:
    assert parsed(build_form(sent), *cuts) == sent


def test_a_form_that_comes_byte_by_byte_is_the_same() -> None:
    sent = [Field("name", "düne".encode()), Field("inputFiles", b"\r\n--" + bytes(range(256)), "a b.bin")]
    body = build_form(sent) + b"\r\n"
    assert parsed(body, *range(len(body))) == sent


@settings(max_examples=300, deadline=None)
@given(
    sent=st.lists(fields, max_size=4),
    damage=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 40), st.binary(max_size=20)), max_size=4),
    cuts=st.lists(st.integers(0, 5000), max_size=10),
)
def test_damaged_forms_give_parts_or_an_error_of_ours(
    sent: list[Field], damage: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    body = build_form(sent)
    for place, length, instead in damage:
        at = place % (len(body) + 1)
        body = body[:at] + instead + body[at + length :]
    _parts_or_error(body, cuts)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=2000), content_type=st.text(max_size=60) | st.just(FORM_TYPE))
def test_any_bytes_give_parts_or_an_error_of_ours(body: bytes, content_type: str) -> None:
    _parts_or_error(body, [7], content_type)
    _parts_or_error(f"--{BOUNDARY}\r\n".encode() + body, [7])


def _parts_or_error(body: bytes, cuts: list[int], content_type: str = FORM_TYPE) -> None:
    refused = ""
    try:
        parsed(body, *cuts, content_type=content_type)
    except (InvalidInputError, TooLargeError) as error:
        refused = error.message
    assert refused == escape_text(refused)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_form_that_breaks_off_is_refused(kept: float) -> None:
    body = build_form([Field("name", b"a name"), Field("inputFiles", b"firmware" * 100, "f.bin")])
    with pytest.raises(InvalidInputError):
        parsed(body[: int(len(body) * kept)])


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
def test_what_is_no_form_with_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidInputError, match="not multipart/form-data"):
        parsed(build_form([Field("name", b"a")]), content_type=content_type)


@pytest.mark.parametrize("preamble", [b"\r\n", b"preamble\r\n", b"\r\n\r\n", b"a --" + BOUNDARY.encode() + b"\r\n"])
def test_preamble_is_ignored_in_any_chunks(preamble: bytes) -> None:
    body = preamble + build_form([Field("name", b"a")])
    for cuts in ([], [3], list(range(len(body)))):
        assert parsed(body, *cuts) == [Field("name", b"a")]


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"x" * 100_000, b"x--" + BOUNDARY.encode()])
def test_body_without_boundary_is_rejected(body: bytes) -> None:
    for cuts in ([], [3], list(range(0, len(body), 1000))):
        with pytest.raises(InvalidInputError, match="boundary is missing"):
            parsed(body, *cuts)


def test_preamble_above_limit_is_rejected() -> None:
    body = b"x" * MAX_PREAMBLE_BYTES + b"\r\n" + build_form([Field("name", b"a")])
    for cuts in ([], list(range(0, len(body), 100))):
        with pytest.raises(InvalidInputError, match="boundary is missing"):
            parsed(body, *cuts)


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
    assert parsed(body) == [Field("inputFile", b"x", file_name)]


def test_limits_are_kept() -> None:
    exactly = [Field("name", b"x" * MAX_TEXT_BYTES)]
    assert parsed(build_form(exactly)) == exactly
    many = [Field("inputIds", b"x")] * MAX_PARTS
    assert len(parsed(build_form(many))) == MAX_PARTS
    too_large = [
        build_form([Field("name", b"x" * (MAX_TEXT_BYTES + 1))]),
        build_form([*many, Field("inputIds", b"x")]),
        build_form([Field("n" * MAX_HEADER_BYTES, b"x")]),
        f"--{BOUNDARY}\r\n".encode() + b"X-Many: 1\r\n" * 10,
        f"--{BOUNDARY}\r\n".encode() + b"x" * 1_000_000,
    ]
    for body in too_large:
        with pytest.raises(TooLargeError):
            parsed(body, *range(0, len(body), 1000))


def test_a_text_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="UTF-8"):
        parsed(build_form([Field("name", b"\xff\xfe")]))


def test_a_file_that_is_not_read_is_passed_over() -> None:
    async def names_of() -> list[str]:
        sent = build_form([Field("first", b"x" * 100_000, "f"), Field("name", b"a"), Field("last", b"y", "g")])
        found = []
        async for part in iter_parts(FORM_TYPE, pieces(sent, list(range(0, len(sent), 900)))):
            found.append(part.name)
            if isinstance(part, FilePart) and part.name == "first":
                await anext(part.content)
        return found

    assert asyncio.run(names_of()) == ["first", "name", "last"]


def test_a_large_file_is_never_held() -> None:
    head, _, tail = build_form([Field("inputFiles", b"CONTENT", "f.bin")]).partition(b"CONTENT")
    chunk, count = b"\r\n--x" * 13107, 1000

    async def large() -> AsyncIterator[bytes]:
        yield head
        for _ in range(count):
            yield chunk
        yield tail

    async def length() -> int:
        found = 0
        async for part in iter_parts(FORM_TYPE, large()):
            assert isinstance(part, FilePart)
            async for each in part.content:
                found += len(each)
        return found

    tracemalloc.start()
    try:
        assert asyncio.run(length()) == len(chunk) * count
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
