"""Tests of the parser of the audit log's filter line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import UsageError
from sealyard_tui.screens.audit.filter_syntax import FIELDS, TEXT, format_filter, parse_filter, split_filter

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MAX_MESSAGE_LENGTH = 60


def test_all_fields_are_parsed() -> None:
    line = "type:task resource:TASK:ab12 author:owner change:refused since:2h until:30m of a task"
    assert parse_filter(line, NOW) == AuditFilter(
        resource_type="TASK",
        resource="TASK:ab12",
        author="USER:owner",
        change=AuditAction.REFUSED,
        since=NOW - timedelta(hours=2),
        until=NOW - timedelta(minutes=30),
        text="of a task",
    )


def test_empty_line_matches_everything() -> None:
    assert parse_filter("  ", NOW) == AuditFilter()
    assert parse_filter("author: since:", NOW) == AuditFilter(), "an incomplete field is ignored"


@pytest.mark.parametrize("text", ["2026-11-01", "2026-11-01T18:30", '"2026-11-01 18:30"'])
def test_dates_are_parsed_in_local_time(text: str) -> None:
    since = parse_filter(f"since:{text}", NOW).since
    assert since is not None
    assert since.replace(tzinfo=None) == datetime.fromisoformat(text.strip('"'))
    assert since.utcoffset() == since.astimezone().utcoffset()


@pytest.mark.parametrize(
    ("age", "seconds"), [("2h", 7200), ("3d", 259200), ("1d12h", 129600), ("90s", 90), ("2w", 1209600), ("0m", 0)]
)
def test_ages_are_relative_to_now(age: str, seconds: int) -> None:
    assert parse_filter(f"since:{age}", NOW).since == NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize("author", ["USER:owner", "GROUP:owners", "SYSTEM:engine"])
def test_qualified_author_is_kept(author: str) -> None:
    assert parse_filter(f"author:{author}", NOW).author == author


def test_unknown_prefix_and_quoted_field_are_text() -> None:
    assert parse_filter("TASK:ab12", NOW).text == "TASK:ab12"
    assert parse_filter('"withdrawn: wrong file"', NOW).text == "withdrawn: wrong file"
    assert parse_filter('"he said ""no"""', NOW).text == 'he said "no"'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("owner:me", "unknown field owner:"),
        ("author:owner author:me", "author: is given twice"),
        ("author:[x]", "author: invalid subject [x]"),
        ("change:REFUSD", "REFUSED?"),
        ("change:???", "unknown change ???: use APPROVED"),
        ("since:soon", "soon: use 2h"),
        ("until:2026-13-01", "2026-13-01: use 2h"),
        ("since:999999999999d", "use 2h"),
        ("since:0001-01-01", "use 2h"),
        ("resource:TASK", "resource: expected TYPE:ID"),
        ("author:" + "x" * 100, "invalid subject x"),
        ("change:\x1b]2;PWNED\x07", "\\x1b"),
    ],
)
def test_invalid_line_raises_short_printable_error(line: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filter(line, NOW)
    assert words in caught.value.message
    assert len(caught.value.message) <= MAX_MESSAGE_LENGTH
    assert caught.value.message.isprintable()


@given(st.dictionaries(st.sampled_from((*FIELDS, TEXT)), st.text(min_size=1, max_size=30)))
def test_formatted_fields_are_parsed_back(parts: dict[str, str]) -> None:
    assert split_filter(format_filter(parts)) == parts


@given(st.text(max_size=60))
def test_any_line_parses_or_raises_usage_error(line: str) -> None:
    message = ""
    try:
        parse_filter(line, NOW)
    except UsageError as error:
        message = error.message
    assert message.isprintable()


@given(st.text(alphabet='abc:" \\n', max_size=40))
def test_valid_line_survives_reformatting(line: str) -> None:
    try:
        parts = split_filter(line)
    except UsageError:
        return
    assert split_filter(format_filter(parts)) == parts
