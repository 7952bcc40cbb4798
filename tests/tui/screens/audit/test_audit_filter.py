"""The audit log's filter line: what is written is what is looked for, and what is wrong is said in a few words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import UsageError
from sealyard_tui.screens.audit.filter_syntax import FIELDS, TEXT, format_filter, parse_filter, split_filter

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
BESIDE_THE_LINE = 60


def test_every_field_narrows_by_what_it_says() -> None:
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


def test_an_empty_line_narrows_nothing() -> None:
    assert parse_filter("  ", NOW) == AuditFilter()
    assert parse_filter("author: since:", NOW) == AuditFilter(), "a field that is just being typed"


@pytest.mark.parametrize("text", ["2026-11-01", "2026-11-01T18:30", '"2026-11-01 18:30"'])
def test_dates_and_times_are_local(text: str) -> None:
    since = parse_filter(f"since:{text}", NOW).since
    assert since is not None
    assert since.replace(tzinfo=None) == datetime.fromisoformat(text.strip('"'))
    assert since.utcoffset() == since.astimezone().utcoffset()


@pytest.mark.parametrize(
    ("age", "seconds"), [("2h", 7200), ("3d", 259200), ("1d12h", 129600), ("90s", 90), ("2w", 1209600), ("0m", 0)]
)
def test_ages_count_back_from_now(age: str, seconds: int) -> None:
    assert parse_filter(f"since:{age}", NOW).since == NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize("author", ["USER:owner", "GROUP:owners", "SYSTEM:engine"])
def test_an_author_may_be_written_in_full(author: str) -> None:
    assert parse_filter(f"author:{author}", NOW).author == author


def test_a_resource_written_alone_and_a_quoted_field_are_text() -> None:
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
def test_what_is_not_understood_is_said_in_a_few_harmless_words(line: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filter(line, NOW)
    assert words in caught.value.message
    assert len(caught.value.message) <= BESIDE_THE_LINE
    assert caught.value.message.isprintable()


@given(st.dictionaries(st.sampled_from((*FIELDS, TEXT)), st.text(min_size=1, max_size=30)))
def test_what_is_put_together_is_taken_apart_into_the_same(parts: dict[str, str]) -> None:
    assert split_filter(format_filter(parts)) == parts


@given(st.text(max_size=60))
def test_any_line_is_read_or_refused_in_words(line: str) -> None:
    wrong = ""
    try:
        parse_filter(line, NOW)
    except UsageError as error:
        wrong = error.message
    assert wrong.isprintable()


@given(st.text(alphabet='abc:" \\n', max_size=40))
def test_a_line_that_was_understood_stays_the_same_when_it_is_written_anew(line: str) -> None:
    try:
        parts = split_filter(line)
    except UsageError:
        return
    assert split_filter(format_filter(parts)) == parts
