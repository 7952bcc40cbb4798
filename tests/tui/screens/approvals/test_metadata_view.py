"""Tests of the rendering of metadata: JSON, text, binary content and truncation."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from sealyard_tui.screens.approvals.metadata_view import HEX_BYTES, MAX_LINES, MetadataKind, render_metadata


def render_lines(content: bytes, size: int | None = None) -> list[str]:
    return render_metadata(content, len(content) if size is None else size).content.plain.split("\n")


def test_json_is_indented() -> None:
    assert render_lines(b'{"version":"1.5.0","parts":[1,{}]}') == [
        "{",
        '  "version": "1.5.0",',
        '  "parts": [',
        "    1,",
        "    {}",
        "  ]",
        "}",
    ]


def test_duplicate_keys_and_long_numbers_are_preserved() -> None:
    rendered = render_metadata(b'{"v": 1.10, "v": 12345678901234567890.1}', 40).content.plain
    assert '"v": 1.10,' in rendered
    assert '"v": 12345678901234567890.1' in rendered


def test_json_tokens_have_distinct_styles() -> None:
    rendered = render_metadata(b'{"a": "b", "c": 1}', 18).content
    assert len({str(span.style) for span in rendered.spans}) == 4


def test_non_json_is_text_with_expanded_tabs() -> None:
    view = render_metadata(b"{not json\r\n\tnote\n", 17)
    assert view.kind is MetadataKind.TEXT
    assert view.content.plain == "{not json\n    note"


def test_markup_and_control_characters_are_escaped() -> None:
    hostile = "[red]a[/] \x1b]2;PWNED\x07 \u202e".encode()
    rendered = render_metadata(hostile, len(hostile)).content
    assert rendered.plain == "[red]a[/] \\x1b]2;PWNED\\x07 \\u202e"
    assert not rendered.spans


def test_binary_content_is_shown_as_hex() -> None:
    view = render_metadata(bytes(range(256)) * 4, 1024)
    assert view.kind is MetadataKind.BINARY
    assert view.content.plain.startswith("0000  00 01 02 03")
    assert "0123456789" in view.content.plain
    assert view.omitted == f"only the first {HEX_BYTES} of 1,024 bytes are shown"


def test_empty_file_has_kind_empty() -> None:
    assert render_metadata(b"", 0).kind is MetadataKind.EMPTY


def test_truncated_content_states_omitted_part() -> None:
    assert render_metadata(b"a note", 9000).omitted == "only the first part of 9,000 bytes is shown"
    many = "\n".join(str(number) for number in range(MAX_LINES + 30)).encode()
    assert render_metadata(many, len(many)).omitted == f"only the first {MAX_LINES} lines are shown, 30 follow"
    assert render_metadata(many, len(many), full=True).omitted == ""
    assert render_metadata(b"a note", 6).omitted == ""


def test_text_cut_inside_character_remains_text() -> None:
    assert render_lines("grün €".encode()[:-1], 9) == ["grün "]


def test_truncated_json_is_indented() -> None:
    assert render_lines(b'{"a": [1, "tr', 100) == ["{", '  "a": [', "    1,", '    "tr']


def test_truncated_ini_file_is_not_json() -> None:
    assert render_lines(b"[device]\nname = gateway\n", 9000) == ["[device]", "name = gateway"]


def test_deeply_nested_json_is_shown_as_text() -> None:
    deep = b"[" * 30_000
    assert max(len(each) for each in render_lines(deep, 60_000)) < 80
    assert render_metadata(deep, 30_000).kind is MetadataKind.TEXT


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii", categories=["L", "N", "P"])),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text("ab:{}[],"), each, max_size=4),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4), st.sampled_from([None, 1]))
def test_json_indentation_changes_whitespace_only(value: list[object], indent: int | None) -> None:
    content = json.dumps(value, indent=indent).encode()
    rendered = render_metadata(content, len(content), full=True).content.plain
    assert json.loads(rendered) == value
    assert re.sub(r"\s", "", rendered) == re.sub(r"\s", "", content.decode())


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_render_printable_text(content: bytes, more: int) -> None:
    view = render_metadata(content, len(content) + more)
    assert all(char.isprintable() or char == "\n" for char in view.content.plain)
