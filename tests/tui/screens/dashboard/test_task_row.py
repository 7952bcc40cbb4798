"""Tests of the task rows of the dashboard and of their sort orders."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.events import TaskChanged
from sealyard.model.task_search import search_text
from sealyard.model.tasks import WITHDRAWN_CODE, ResultState, Task, TaskStatus
from sealyard_tui.screens.dashboard.task_row import (
    SORTABLE_COLUMNS,
    TaskOrder,
    TaskRow,
    apply_change,
    create_row,
    find_insert_position,
    sort_rows,
)
from tests.tui.task_factories import file, result, task
from tests.tui.workspace import DEVELOPER, NOW, OWNER

orders = st.builds(TaskOrder, column=st.sampled_from(sorted(SORTABLE_COLUMNS)), descending=st.booleans())
task_rows = st.builds(
    lambda task_id, minutes, **fields: create_row(task(task_id, created_at=NOW - timedelta(minutes=minutes), **fields)),
    st.text("abc", min_size=1, max_size=3),
    st.integers(0, 3),
    name=st.sampled_from(["", "Beta", "alpha", "alpha"]),
    status=st.sampled_from([*TaskStatus]),
    created_by=st.sampled_from([DEVELOPER, OWNER]),
)


@given(st.lists(task_rows, max_size=12, unique_by=lambda row: row.id), task_rows, orders)
def test_insert_position_matches_full_sort(others: list[TaskRow], row: TaskRow, order: TaskOrder) -> None:
    sorted_others = sort_rows([each for each in others if each.id != row.id], order)
    position = find_insert_position(row, len(sorted_others), sorted_others.__getitem__, order)
    assert [*sorted_others[:position], row, *sorted_others[position:]] == sort_rows([*sorted_others, row], order)


def test_title_falls_back_and_is_escaped() -> None:
    assert create_row(task("t1", name="\x1b]2;x")).title == "\\x1b]2;x"
    assert create_row(task("t1", name="", inputs=(file("a\u202eb"),))).title == "a\\u202eb"
    assert create_row(task("t1", name="", inputs=(), metadata=())).title == "t1"


def test_row_keeps_displayed_result_fields(usual_tasks: list[Task]) -> None:
    for usual_task in usual_tasks:
        row_result, task_result = create_row(usual_task).result, usual_task.result
        assert (row_result is None) == (task_result is None)
        if row_result is not None and task_result is not None:
            assert (row_result.state, row_result.expires_at, row_result.retained_until) == (
                task_result.state,
                task_result.expires_at,
                task_result.retained_until,
            )
            assert (row_result.signature is None) == (task_result.signature is None)
            assert (row_result.link, row_result.sha256) == (None, None)


def test_search_text_matches_that_of_the_engine(usual_tasks: list[Task]) -> None:
    withdrawn = task(
        "t-withdrawn",
        TaskStatus.CANCELLED,
        reason=f"Withdrawn by {DEVELOPER}: wrong version",
        reason_code=WITHDRAWN_CODE,
    )
    names = {DEVELOPER: "Dana Developer", OWNER: "Olga Owner"}
    assert create_row(withdrawn).short_reason == "wrong version"
    for each in (*usual_tasks, withdrawn):
        assert create_row(each).search_text(names) == search_text(each, names)


def test_event_updates_result_state() -> None:
    row = create_row(task("t1", TaskStatus.DONE, result=result()))
    change = TaskChanged(
        cursor=1,
        at=NOW,
        task_id="t1",
        kind=row.kind,
        status=TaskStatus.DONE,
        name="",
        config_id="gw",
        created_by=DEVELOPER,
        result_state=ResultState.EXPIRED,
    )
    assert apply_change(row, change) == msgspec.structs.replace(row, state=ResultState.EXPIRED)
