"""Tests of the parser of the dashboard's filter line, and of the engine filter derived from it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import UsageError
from sealyard.model.tasks import ResultState, Task, TaskKind, TaskStatus
from sealyard_tui.screens.dashboard.filter_syntax import TaskQuery, get_field, parse_filter, set_fields
from sealyard_tui.screens.dashboard.task_row import create_row
from tests.tui.task_factories import file, result, task
from tests.tui.workspace import DEVELOPER, OWNER

DEVICES = {"gateway": "gw", "sensor": "sensor"}


def find_ids(tasks: list[Task], line: str, me: str = DEVELOPER) -> list[str]:
    query = parse_filter(line, me)
    return [task.id for task in tasks if query.matches(create_row(task))]


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("status:waiting", ["t-waiting"]),
        ("status:wait", ["t-waiting"]),
        ("status:queued", ["t-queued"]),
        ("status:waiting,running", ["t-waiting", "t-running"]),
        ("STATUS:Failed", ["t-failed"]),
        ("state:expired,gone", ["t-expired", "t-gone"]),
        ("status:expired", ["t-expired"]),
        ("state:waiting", ["t-waiting"]),
        ("failed", ["t-failed"]),
        ("!done -waiting -failed -running -queued", ["t-rejected"]),
        ("wrong bootloader", ["t-rejected"]),
        ("kind:signing", ["t-signed"]),
        ("1.4.3 -beta", ["t-running"]),
        ("1.4.3 !beta", ["t-running"]),
        ("owner:me status:failed", ["t-failed"]),
        ("owner:dev status:failed", ["t-failed"]),
        ("owner:USER:developer status:failed", ["t-failed"]),
        ("-owner:me", []),
        ("device:sens kind:signing", ["t-signed"]),
        ("device:gateway kind:signing", []),
        ('"gateway 1.5"', ["t-waiting"]),
        ("MANIFEST.json", ["t-signed"]),
        ("-status:done -status:waiting -1.4", ["t-rejected", "t-failed"]),
    ],
)
def test_filter_line_selects_matching_tasks(usual_tasks: list[Task], line: str, ids: list[str]) -> None:
    assert find_ids(usual_tasks, line) == ids


def test_me_is_replaced_by_caller(usual_tasks: list[Task]) -> None:
    assert find_ids(usual_tasks, "owner:me", OWNER) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stats:done", "unknown field stats: status:?"),
        ("done:", "unknown field done: status:done?"),
        ("expired:yes", "unknown field expired: status:expired?"),
        ("12:30", 'unknown field 12: to search for the text, write "12:30"'),
        ("status:flying", "unknown value flying; use created, waiting"),
        ("state:", "state: expected waiting, done, expired"),
        ("\x1b:x", "unknown field \\x1b"),
    ],
)
def test_invalid_line_raises_usage_error(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filter(line, DEVELOPER)
    assert caught.value.message.startswith(message)


def test_known_device_is_filtered_by_engine() -> None:
    filters, whole = parse_filter("device:gateway", DEVELOPER, DEVICES).to_engine_filter()
    assert (filters.config, whole) == ("gw", True)
    filters, whole = parse_filter("device:gate", DEVELOPER, DEVICES).to_engine_filter()
    assert (filters.config, whole) == (None, False)


def test_unsupported_terms_are_filtered_locally() -> None:
    filters, whole = parse_filter("status:done status:failed -beta release 1.0", DEVELOPER).to_engine_filter()
    assert (filters.status, filters.text, whole) == (TaskStatus.DONE, "release", False)


def test_display_names_are_searched(usual_tasks: list[Task]) -> None:
    query = parse_filter("olga", DEVELOPER, names={OWNER: "Olga Owner"})
    assert [each.id for each in usual_tasks if query.matches(create_row(each))] == ["t-rejected"]
    assert not any(parse_filter("olga", DEVELOPER).matches(create_row(each)) for each in usual_tasks)


def test_result_state_is_filtered_by_engine() -> None:
    filters, whole = parse_filter("status:expired", DEVELOPER).to_engine_filter()
    assert (filters.result_state, filters.status, whole) == (ResultState.EXPIRED, None, True)
    filters, whole = parse_filter("status:expired status:done", DEVELOPER).to_engine_filter()
    assert (filters.result_state, filters.status, whole) == (ResultState.EXPIRED, TaskStatus.DONE, True)


def test_fuzzy_query_finds_and_ranks_similar_names() -> None:
    rows = [create_row(task(f"t{number}", name=name)) for number, name in enumerate(("gate away", "gateway", "beta"))]
    query = parse_filter("gtway -beta status:waiting", DEVELOPER).to_fuzzy()
    assert query is not None
    assert [row.title for row in rows if query.matches(row)] == ["gate away", "gateway"]
    assert query.rank(rows[1]) > query.rank(rows[0])
    assert query.to_engine_filter()[0].text == ""
    assert query.to_fuzzy() is None
    assert parse_filter("ab -cdef status:done", DEVELOPER).to_fuzzy() is None


def test_set_fields_keeps_other_terms() -> None:
    line = set_fields('beta status:done -status:failed "a b"', {"status": "", "state": "expired"})
    assert line == 'beta -status:failed "a b" state:expired'
    assert set_fields(line, {"state": ""}) == 'beta -status:failed "a b"'
    assert set_fields('"a b', {"status": "done"}) == '"a b" status:done'
    assert (get_field(line, "state"), get_field(line, "status")) == ("expired", "")


filter_words = st.sampled_from(
    """status:waiting status:done,failed state:expired kind:pack owner:me owner:d owner:USER:owner device:gateway
    device:gate device:gateway,sensor beta "a_b" release 1.4 "12:30" - " """.replace("\n", " ").split()
)
filter_lines = st.lists(st.tuples(st.sampled_from(["", "-", "!"]), filter_words).map("".join), max_size=4).map(" ".join)

any_task = st.builds(
    task,
    st.sampled_from(["t1", "beta-2", "a_b"]),
    st.sampled_from([*TaskStatus]),
    kind=st.sampled_from([*TaskKind]),
    name=st.sampled_from(["", "release 1.4", "BETA", "12:30"]),
    created_by=st.sampled_from([DEVELOPER, OWNER, "USER:Dora"]),
    inputs=st.sampled_from([(), (file("a_b.bin"),), (file("Release"),)]),
    result=st.none() | st.builds(result, st.sampled_from([*ResultState])),
)


@given(st.text(max_size=60) | filter_lines)
def test_any_line_parses_or_raises_usage_error(line: str) -> None:
    message = ""
    try:
        parse_filter(line, DEVELOPER, DEVICES)
    except UsageError as error:
        message = error.message
    assert message.isprintable()


@given(filter_lines, any_task)
def test_engine_filter_covers_all_matches(line: str, candidate: Task) -> None:
    query = parse_filter(line, DEVELOPER, DEVICES)
    filters, whole = query.to_engine_filter()
    row = create_row(candidate)
    if query.matches(row):
        assert filters.matches(candidate)
    if whole:
        assert filters.matches(candidate) == query.matches(row)


@given(filter_lines, any_task)
def test_negated_term_selects_complement(line: str, candidate: Task) -> None:
    for term in parse_filter(line, DEVELOPER, DEVICES).terms:
        other = msgspec.structs.replace(term, is_negated=not term.is_negated)
        assert term.matches(create_row(candidate)) is not other.matches(create_row(candidate))


@given(filter_lines, any_task, st.sampled_from(["waiting", "running", ""]))
def test_set_fields_narrows_and_is_idempotent(line: str, candidate: Task, status: str) -> None:
    updated = set_fields(line, {"status": status})
    assert set_fields(updated, {"status": status}) == updated
    query = parse_filter(updated, DEVELOPER, DEVICES)
    status_query = TaskQuery() if not status else parse_filter(f"status:{status}", DEVELOPER)
    assert not query.matches(create_row(candidate)) or status_query.matches(create_row(candidate))
