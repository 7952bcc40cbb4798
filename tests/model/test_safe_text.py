"""Foreign text made harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.safe_text import escape_multiline, escape_text

any_text = st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp", "Cn"]))


@given(any_text)
def test_what_comes_out_is_printable(text: str) -> None:
    assert escape_text(text).isprintable()


@given(any_text)
def test_what_comes_out_can_be_written_as_utf_8(text: str) -> None:
    assert escape_text(text).encode().decode() == escape_text(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert escape_text(text) == text


@given(any_text)
def test_what_is_safe_already_stays_as_it_is(text: str) -> None:
    assert escape_text(escape_text(text)) == escape_text(text)


@given(any_text, st.integers(1, 40))
def test_a_limit_is_kept(text: str, limit: int) -> None:
    cut = escape_text(text, limit)
    assert len(cut) <= limit
    assert cut == escape_text(text) or (cut.endswith("…") and escape_text(text).startswith(cut[:-1]))


@given(any_text)
def test_lines_keep_their_line_feeds_and_nothing_else(text: str) -> None:
    lines = escape_multiline(text).split("\n")
    assert len(lines) == text.count("\n") + 1
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\x00b\x07", "a\\x00b\\x07"),
        ("fdp.\u202etxt.exe", "fdp.\\u202etxt.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("a\u200bb", "a\\u200bb"),
        ("a\u00a0b", "a\\xa0b"),
        ("a\tb\r\n", "a\\x09b\\x0d\\x0a"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("Grüße 固件 🔑", "Grüße 固件 🔑"),
    ],
)
def test_control_and_bidi_characters_become_escapes_and_markup_stays(text: str, shown: str) -> None:
    assert escape_text(text) == shown


class Unread(str):
    """A text that must not be walked to its end."""

    def __iter__(self) -> object:  # type: ignore[override]
        raise AssertionError("the whole text was walked")


def test_with_a_limit_the_rest_of_a_long_text_costs_nothing() -> None:
    assert escape_text(Unread("x" * 10_000), 5) == "xxxx…"
