"""Tests of range requests (RFC 9110) for results."""

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


def range_headers(text: str | None, if_range: str | None = None) -> RangeHeaders:
    return RangeHeaders(text, if_range, None)


@given(first=st.integers(0, 3000), last=st.integers(0, 3000), size=st.integers(1, 2500))
def test_range_selects_requested_bytes(first: int, last: int, size: int) -> None:
    whole = CONTENT[:size]
    size = len(whole)
    headers = range_headers(f"bytes={first}-{last}")
    expected = whole[first : last + 1]
    if not expected:
        with pytest.raises(RangeError):
            headers.bounds(size, ETAG)
        return
    bounds = headers.bounds(size, ETAG)
    assert bounds is not None
    assert whole[slice(*bounds)] == expected


@given(last=st.integers(1, 4000), size=st.integers(1, 2048))
def test_suffix_range_selects_last_bytes(last: int, size: int) -> None:
    bounds = range_headers(f"bytes=-{last}").bounds(size, ETAG)
    assert bounds is not None
    assert CONTENT[:size][slice(*bounds)] == CONTENT[:size][-last:]


@given(st.text(max_size=40))
def test_random_range_header_gives_range_or_error(text: str) -> None:
    try:
        bounds = range_headers(text).bounds(100, ETAG)
    except RangeError:
        return
    assert bounds is None or 0 <= bounds[0] < bounds[1] <= 100


def test_if_range_mismatch_selects_whole_file() -> None:
    assert range_headers("bytes=5-", '"other"').bounds(100, ETAG) is None
    assert range_headers("bytes=5-", ETAG).bounds(100, ETAG) == (5, 100)


def test_unsupported_range_selects_whole_file() -> None:
    assert range_headers("bytes=0-1,4-5").bounds(100, ETAG) is None
    assert range_headers("lines=0-1").bounds(100, ETAG) is None
    assert range_headers("bytes=-").bounds(100, ETAG) is None


# ---- responses


class ResultReader:
    def __init__(self, error: Exception | None = None) -> None:
        self.recorded: list[int] = []
        self._error = error

    async def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        if self._error is not None:
            raise self._error
        for begin in range(offset, len(CONTENT), 100):
            yield CONTENT[begin : begin + 100]

    async def record(self, offset: int) -> None:
        self.recorded.append(offset)


def done_task() -> Task:
    result = Result(
        state=ResultState.AVAILABLE,
        file_name="pack\r\n age.se-1",
        expires_at=NOW + timedelta(hours=1),
        sha256="abc",
        size=len(CONTENT),
    )
    return msgspec.structs.replace(package(), result=result)


async def read_body(stream: object) -> bytes:
    return b"".join([each async for each in stream.iterator])  # type: ignore[attr-defined]


async def test_download_is_recorded_after_last_byte() -> None:
    reader = ResultReader()
    part = await file_response(done_task(), range_headers("bytes=0-9"), reader.read, reader.record)
    assert await read_body(part) == CONTENT[:10]
    assert reader.recorded == []
    rest = await file_response(done_task(), range_headers("bytes=10-"), reader.read, reader.record)
    assert await read_body(rest) == CONTENT[10:]
    assert reader.recorded == [10]


async def test_read_error_is_raised_before_response() -> None:
    for error in (ResultExpiredError("expired"), ConflictError("not yet")):
        reader = ResultReader(error)
        with pytest.raises(type(error)):
            await file_response(done_task(), range_headers(None), reader.read, reader.record)


async def test_file_name_is_escaped_in_header() -> None:
    reader = ResultReader()
    stream = await file_response(done_task(), range_headers(None), reader.read, reader.record)
    assert stream.headers["Content-Disposition"] == 'attachment; filename="pack___age.se-1"'


async def test_matching_etag_returns_not_modified() -> None:
    etag_headers = RangeHeaders(None, None, ETAG)
    reader = ResultReader()
    unchanged = await file_response(done_task(), etag_headers, reader.read, reader.record)
    assert unchanged.status_code == 304
    assert await read_body(unchanged) == b""
    assert reader.recorded == []
    with pytest.raises(ResultExpiredError):
        await file_response(done_task(), etag_headers, ResultReader(ResultExpiredError("expired")).read, reader.record)
