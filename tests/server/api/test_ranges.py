"""Ranges of a result: exactly what RFC 9110 asks for, whatever a client writes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import ConflictError, ResultExpiredError
from sealyard.model.tasks import Result, ResultState, Task
from sealyard.server.api.ranges import RangeError, RangeHeaders, file_response
from tests.support.factories.tasks import NOW, package

pytestmark = pytest.mark.anyio

ETAG = '"abc"'
CONTENT = bytes(range(256)) * 8


def wanted(text: str | None, if_range: str | None = None) -> RangeHeaders:
    return RangeHeaders(text, if_range, None)


@given(first=st.integers(0, 3000), last=st.integers(0, 3000), size=st.integers(1, 2500))
def test_a_range_is_the_bytes_it_names(first: int, last: int, size: int) -> None:
    whole = CONTENT[:size]
    size = len(whole)
    asked = wanted(f"bytes={first}-{last}")
    expected = whole[first : last + 1]
    if not expected:
        with pytest.raises(RangeError):
            asked.bounds(size, ETAG)
        return
    bounds = asked.bounds(size, ETAG)
    assert bounds is not None
    assert whole[slice(*bounds)] == expected


@given(last=st.integers(1, 4000), size=st.integers(1, 2048))
def test_the_last_bytes_can_be_asked_for(last: int, size: int) -> None:
    bounds = wanted(f"bytes=-{last}").bounds(size, ETAG)
    assert bounds is not None
    assert CONTENT[:size][slice(*bounds)] == CONTENT[:size][-last:]


@given(st.text(max_size=40))
def test_whatever_is_written_there_gives_the_whole_a_part_or_our_refusal(text: str) -> None:
    try:
        bounds = wanted(text).bounds(100, ETAG)
    except RangeError:
        return
    assert bounds is None or 0 <= bounds[0] < bounds[1] <= 100


def test_a_range_of_another_version_is_answered_with_the_whole() -> None:
    assert wanted("bytes=5-", '"other"').bounds(100, ETAG) is None
    assert wanted("bytes=5-", ETAG).bounds(100, ETAG) == (5, 100)


def test_several_ranges_and_other_units_are_answered_with_the_whole() -> None:
    assert wanted("bytes=0-1,4-5").bounds(100, ETAG) is None
    assert wanted("lines=0-1").bounds(100, ETAG) is None
    assert wanted("bytes=-").bounds(100, ETAG) is None


# ---- answers


class Reading:
    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[int] = []
        self._error = error

    async def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        if self._error is not None:
            raise self._error
        for begin in range(offset, len(CONTENT), 100):
            yield CONTENT[begin : begin + 100]

    async def note(self, offset: int) -> None:
        self.sent.append(offset)


def done_task() -> Task:
    result = Result(
        state=ResultState.AVAILABLE,
        file_name="pack\r\n age.se-1",
        expires_at=NOW + timedelta(hours=1),
        sha256="abc",
        size=len(CONTENT),
    )
    return msgspec.structs.replace(package(), result=result)


async def body(stream: object) -> bytes:
    return b"".join([each async for each in stream.iterator])  # type: ignore[attr-defined]


async def test_that_the_last_byte_has_gone_is_said_once_and_not_before_and_from_where_on() -> None:
    reading = Reading()
    part = await file_response(done_task(), wanted("bytes=0-9"), reading.read, reading.note)
    assert await body(part) == CONTENT[:10]
    assert reading.sent == []
    end = await file_response(done_task(), wanted("bytes=10-"), reading.read, reading.note)
    assert await body(end) == CONTENT[10:]
    assert reading.sent == [10]


async def test_what_keeps_a_result_back_is_raised_before_anything_is_answered() -> None:
    for error in (ResultExpiredError("over"), ConflictError("not yet")):
        reading = Reading(error)
        with pytest.raises(type(error)):
            await file_response(done_task(), wanted(None), reading.read, reading.note)


async def test_a_file_name_cannot_write_headers() -> None:
    reading = Reading()
    stream = await file_response(done_task(), wanted(None), reading.read, reading.note)
    assert stream.headers["Content-Disposition"] == 'attachment; filename="pack___age.se-1"'


async def test_who_has_the_result_already_is_told_so_but_not_of_a_link_that_has_ended() -> None:
    have = RangeHeaders(None, None, ETAG)
    reading = Reading()
    unchanged = await file_response(done_task(), have, reading.read, reading.note)
    assert unchanged.status_code == 304
    assert await body(unchanged) == b""
    assert reading.sent == []
    with pytest.raises(ResultExpiredError):
        await file_response(done_task(), have, Reading(ResultExpiredError("over")).read, reading.note)
