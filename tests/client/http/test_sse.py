"""The parser of server-sent events against the rules of the HTML standard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealyard.client.http.sse import Comment, EventParser, ServerSentEvent

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def _parsed(data: bytes, size: int = 1 << 20) -> list[ServerSentEvent | Comment]:
    """In pieces of ``size`` bytes."""
    parser = EventParser()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return [each for piece in pieces for each in parser.feed(piece)]


@given(
    st.lists(st.tuples(NAMES, st.lists(NAMES, min_size=1, max_size=3), NAMES), max_size=4),
    st.data(),
    st.integers(1, 9),
    st.booleans(),
)
def test_what_was_written_is_read_wherever_it_is_cut(
    events: list[tuple[str, list[str], str]], data: st.DataObject, size: int, mark: bool
) -> None:
    text = "\ufeff" if mark else ""
    for name, lines, number in events:
        fields = [f"event: {name}", *(f"data: {line}" for line in lines), f"id: {number}", ": beat", "unknown: x", ""]
        end = data.draw(ENDS)
        text += "".join(each + end for each in fields)
    found = _parsed(text.encode(), size)
    assert [each for each in found if isinstance(each, ServerSentEvent)] == [
        ServerSentEvent(event=name or "message", data="\n".join(lines), id=number) for name, lines, number in events
    ]
    assert [each for each in found if isinstance(each, Comment)] == [Comment(text="beat")] * len(events)


@given(st.binary(max_size=200), st.integers(1, 9))
def test_cuts_never_make_a_difference(data: bytes, size: int) -> None:
    assert _parsed(data, size) == _parsed(data)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"data", b":", b" ", b"id", b"x", b"event", b"\0"]), max_size=40))
def test_byte_by_byte_is_as_all_at_once(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert _parsed(data, 1) == _parsed(data)


def test_the_examples_of_the_standard() -> None:
    assert _parsed(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [
        ServerSentEvent(event="message", data="YHOO\n+2\n10", id="")
    ]
    assert _parsed(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n") == [
        Comment(text="test stream"),
        ServerSentEvent(event="message", data="first event", id="1"),
        ServerSentEvent(event="message", data="second event", id=""),
    ]
    assert _parsed(b"data\n\ndata\ndata\n\ndata:") == [
        ServerSentEvent(event="message", data="", id=""),
        ServerSentEvent(event="message", data="\n", id=""),
    ]
    assert _parsed(b"data:test\n\ndata: test\n\n") == [ServerSentEvent(event="message", data="test", id="")] * 2


def test_an_id_holds_for_those_behind_it_and_one_with_a_nul_is_none() -> None:
    found = _parsed(b"id: 7\n\ndata: a\n\nid: 8\0\ndata: b\n\n")
    assert [each.id for each in found if isinstance(each, ServerSentEvent)] == ["7", "7"]


def test_an_event_that_its_stream_does_not_end_is_left_out() -> None:
    assert _parsed(b"data: whole\r\n\r\ndata: half\r\n") == [ServerSentEvent(event="message", data="whole", id="")]


def test_an_event_is_told_as_soon_as_its_last_byte_is_there() -> None:
    assert len(_parsed(b"data: a\r\r")) == 1
