"""Light rows: what is shown of a task is in them, and each has one place in every order."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.events import TaskChanged
from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard_tui.screens.dashboard.task_row import (
    SortOrder,
    TaskRow,
    apply_change,
    create_row,
    find_insert_position,
    sort_rows,
)
from tests.tui.task_factories import file, result, task
from tests.tui.workspace import DEVELOPER, NOW, OWNER

rows = st.builds(
    lambda task_id, minutes, **fields: create_row(task(task_id, created_at=NOW - timedelta(minutes=minutes), **fields)),
    st.text("abc", min_size=1, max_size=3),
    st.integers(0, 3),
    name=st.sampled_from(["", "Beta", "alpha", "alpha"]),
    status=st.sampled_from([*TaskStatus]),
    created_by=st.sampled_from([DEVELOPER, OWNER]),
)


@given(st.lists(rows, max_size=12, unique_by=lambda row: row.id), rows, st.sampled_from([*SortOrder]))
def test_a_row_is_put_where_ordering_all_would_put_it(others: list[TaskRow], row: TaskRow, order: SortOrder) -> None:
    there = sort_rows([each for each in others if each.id != row.id], order)
    place = find_insert_position(row, len(there), there.__getitem__, order)
    assert [*there[:place], row, *there[place:]] == sort_rows([*there, row], order)


def test_a_title_is_the_name_or_the_first_file_or_the_id_and_harmless() -> None:
    assert create_row(task("t1", name="\x1b]2;x")).title == "\\x1b]2;x"
    assert create_row(task("t1", name="", inputs=(file("a\u202eb"),))).title == "a\\u202eb"
    assert create_row(task("t1", name="", inputs=(), metadata=())).title == "t1"


def test_of_a_result_the_row_keeps_what_is_shown(usual_tasks: list[Task]) -> None:
    for made in usual_tasks:
        kept, was = create_row(made).result, made.result
        assert (kept is None) == (was is None)
        if kept is not None and was is not None:
            assert (kept.state, kept.expires_at, kept.retained_until) == (was.state, was.expires_at, was.retained_until)
            assert (kept.signature is None) == (was.signature is None)
            assert (kept.link, kept.sha256) == (None, None)


def test_an_event_moves_status_and_state_and_ends_the_progress() -> None:
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
