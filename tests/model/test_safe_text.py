"""Tests of escaping untrusted text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.safe_text import escape_multiline, escape_text

any_text = st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp", "Cn"]))


@given(any_text)
def test_escaped_text_is_printable(text: str) -> None:
    assert escape_text(text).isprintable()


@given(any_text)
def test_escaped_text_is_valid_utf8(text: str) -> None:
    assert escape_text(text).encode().decode() == escape_text(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_unchanged(text: str) -> None:
    assert escape_text(text) == text


@given(any_text)
def test_escape_text_is_idempotent(text: str) -> None:
    assert escape_text(escape_text(text)) == escape_text(text)


@given(any_text, st.integers(1, 40))
def test_escape_text_respects_the_limit(text: str, limit: int) -> None:
    cut = escape_text(text, limit)
    assert len(cut) <= limit
    assert cut == escape_text(text) or (cut.endswith("…") and escape_text(text).startswith(cut[:-1]))


@given(any_text)
def test_escape_multiline_keeps_line_feeds(text: str) -> None:
    lines = escape_multiline(text).split("\n")
    assert len(lines) == text.count("\n") + 1
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_control_and_bidi_characters_are_escaped(text: str, expected: str) -> None:
    assert escape_text(text) == expected


class NonIterableText(str):
    """A text that cannot be iterated."""

    def __iter__(self) -> object:  # type: ignore[override]
        raise AssertionError("the whole text was iterated")


def test_escape_text_with_limit_reads_prefix_only() -> None:
    assert escape_text(NonIterableText("x" * 10_000), 5) == "xxxx…"
