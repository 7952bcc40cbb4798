"""Metadata is read as it will be released: set out, harmless, and never shortened in silence."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from sealyard_tui.screens.approvals.metadata_view import HEX_BYTES, MAX_LINES, MetadataKind, render_metadata


def lines(content: bytes, size: int | None = None) -> list[str]:
    return render_metadata(content, len(content) if size is None else size).content.plain.split("\n")


def test_json_is_set_out_in_lines() -> None:
    assert lines(b'{"version":"1.5.0","parts":[1,{}]}') == [
        "{",
        '  "version": "1.5.0",',
        '  "parts": [',
        "    1,",
        "    {}",
        "  ]",
        "}",
    ]


def test_a_name_that_stands_twice_and_a_number_a_parser_would_round_are_seen() -> None:
    shown = render_metadata(b'{"v": 1.10, "v": 12345678901234567890.1}', 40).content.plain
    assert '"v": 1.10,' in shown
    assert '"v": 12345678901234567890.1' in shown


def test_names_strings_and_numbers_are_told_apart_by_style() -> None:
    shown = render_metadata(b'{"a": "b", "c": 1}', 18).content
    assert len({str(span.style) for span in shown.spans}) == 4


def test_what_is_no_json_is_text_as_it_is_with_tabs_as_spaces() -> None:
    found = render_metadata(b"{not json\r\n\tnote\n", 17)
    assert found.kind is MetadataKind.TEXT
    assert found.content.plain == "{not json\n    note"


def test_markup_and_control_characters_in_metadata_do_nothing() -> None:
    hostile = "[red]a[/] \x1b]2;PWNED\x07 \u202e".encode()
    shown = render_metadata(hostile, len(hostile)).content
    assert shown.plain == "[red]a[/] \\x1b]2;PWNED\\x07 \\u202e"
    assert not shown.spans


def test_binary_metadata_is_shown_as_bytes_from_the_beginning() -> None:
    found = render_metadata(bytes(range(256)) * 4, 1024)
    assert found.kind is MetadataKind.BINARY
    assert found.content.plain.startswith("0000  00 01 02 03")
    assert "0123456789" in found.content.plain
    assert found.omitted == f"only the first {HEX_BYTES} of 1,024 bytes are shown"


def test_an_empty_file_is_said_to_be_empty() -> None:
    assert render_metadata(b"", 0).kind is MetadataKind.EMPTY


def test_it_says_when_only_the_beginning_is_shown() -> None:
    assert render_metadata(b"a note", 9000).omitted == "only the first part of 9,000 bytes is shown"
    many = "\n".join(str(number) for number in range(MAX_LINES + 30)).encode()
    assert render_metadata(many, len(many)).omitted == f"only the first {MAX_LINES} lines are shown, 30 follow"
    assert render_metadata(many, len(many), full=True).omitted == ""
    assert render_metadata(b"a note", 6).omitted == ""


def test_a_beginning_that_ends_within_a_character_is_still_text() -> None:
    assert lines("grün €".encode()[:-1], 9) == ["grün "]


def test_json_that_is_cut_is_set_out_as_far_as_it_goes() -> None:
    assert lines(b'{"a": [1, "tr', 100) == ["{", '  "a": [', "    1,", '    "tr']


def test_a_cut_file_of_sections_in_brackets_is_no_json() -> None:
    assert lines(b"[device]\nname = gateway\n", 9000) == ["[device]", "name = gateway"]


def test_json_of_a_thousand_levels_stays_readable() -> None:
    deep = b"[" * 30_000
    assert max(len(each) for each in lines(deep, 60_000)) < 80
    assert render_metadata(deep, 30_000).kind is MetadataKind.TEXT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii", categories=["L", "N", "P"])),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text("ab:{}[],"), each, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4), st.sampled_from([None, 1]))
def test_setting_json_out_changes_spaces_only(value: list[object], indent: int | None) -> None:
    content = json.dumps(value, indent=indent).encode()
    shown = render_metadata(content, len(content), full=True).content.plain
    assert json.loads(shown) == value
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", content.decode())


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_shown_harmless(content: bytes, more: int) -> None:
    found = render_metadata(content, len(content) + more)
    assert all(char.isprintable() or char == "\n" for char in found.content.plain)
