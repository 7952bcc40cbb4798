"""Test the parser of server-sent events against the rules of the HTML standard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealyard.client.http.sse import Comment, EventParser, ServerSentEvent

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)
LINE_ENDINGS = st.sampled_from(["\n", "\r", "\r\n"])


def _parse(data: bytes, size: int = 1 << 20) -> list[ServerSentEvent | Comment]:
    """Parse ``data`` in pieces of ``size`` bytes."""
    parser = EventParser()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return [each for piece in pieces for each in parser.feed(piece)]


@given(
    st.lists(st.tuples(NAMES, st.lists(NAMES, min_size=1, max_size=3), NAMES), max_size=4),
    st.data(),
    st.integers(1, 9),
    st.booleans(),
)
def test_events_parse_with_any_chunk_size(
    events: list[tuple[str, list[str], str]], data: st.DataObject, size: int, has_bom: bool
) -> None:
    text = "\ufeff" if has_bom else ""
    for name, lines, number in events:
        fields = [f"event: {name}", *(f"data: {line}" for line in lines), f"id: {number}", ": beat", "unknown: x", ""]
        line_ending = data.draw(LINE_ENDINGS)
        text += "".join(each + line_ending for each in fields)
    parsed = _parse(text.encode(), size)
    assert [each for each in parsed if isinstance(each, ServerSentEvent)] == [
        ServerSentEvent(event=name or "message", data="\n".join(lines), id=number) for name, lines, number in events
    ]
    assert [each for each in parsed if isinstance(each, Comment)] == [Comment(text="beat")] * len(events)


@given(st.binary(max_size=200), st.integers(1, 9))
def test_arbitrary_bytes_parse_independent_of_chunks(data: bytes, size: int) -> None:
    assert _parse(data, size) == _parse(data)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"data", b":", b" ", b"id", b"x", b"event", b"\0"]), max_size=40))
def test_single_bytes_parse_like_whole_stream(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert _parse(data, 1) == _parse(data)


def test_examples_of_standard_are_parsed() -> None:
    assert _parse(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [
        ServerSentEvent(event="message", data="YHOO\n+2\n10", id="")
    ]
    assert _parse(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n") == [
        Comment(text="test stream"),
        ServerSentEvent(event="message", data="first event", id="1"),
        ServerSentEvent(event="message", data="second event", id=""),
    ]
    assert _parse(b"data\n\ndata\ndata\n\ndata:") == [
        ServerSentEvent(event="message", data="", id=""),
        ServerSentEvent(event="message", data="\n", id=""),
    ]
    assert _parse(b"data:test\n\ndata: test\n\n") == [ServerSentEvent(event="message", data="test", id="")] * 2


def test_id_persists_and_nul_is_ignored() -> None:
    parsed = _parse(b"id: 7\n\ndata: a\n\nid: 8\0\ndata: b\n\n")
    assert [each.id for each in parsed if isinstance(each, ServerSentEvent)] == ["7", "7"]


def test_unterminated_event_is_dropped() -> None:
    assert _parse(b"data: whole\r\n\r\ndata: half\r\n") == [ServerSentEvent(event="message", data="whole", id="")]


def test_event_is_returned_at_last_byte() -> None:
    assert len(_parse(b"data: a\r\r")) == 1
