"""Which tasks a filter lets through."""

from __future__ import annotations

import msgspec
import pytest
from task_maker import file, package, waiting

from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Result, ResultState, Task, TaskKind, TaskStatus


def _task() -> Task:
    return msgspec.structs.replace(waiting(), name="Größe 1", inputs=(file("Image.BIN"),))


@pytest.mark.parametrize(
    "filters",
    [
        TaskFilter(),
        TaskFilter(status=TaskStatus.WAITING),
        TaskFilter(kind=TaskKind.PACKAGING),
        TaskFilter(config="c1"),
        TaskFilter(config="gateway"),
        TaskFilter(created_by="USER:dev"),
        TaskFilter(text="GRÖSSE"),
        TaskFilter(text="image.bin"),
        TaskFilter(text="notes.txt"),
        TaskFilter(text="T1"),
        TaskFilter(waiting_for_me=True),
    ],
)
def test_what_fits_all_that_is_set_passes(filters: TaskFilter) -> None:
    assert filters.matches(_task())


@pytest.mark.parametrize(
    "filters",
    [
        TaskFilter(status=TaskStatus.DONE),
        TaskFilter(kind=TaskKind.SIGNING),
        TaskFilter(config="gate"),
        TaskFilter(created_by="USER:owner"),
        TaskFilter(result_state=ResultState.AVAILABLE),
        TaskFilter(text="nothing of it"),
        TaskFilter(status=TaskStatus.WAITING, text="nothing of it"),
    ],
)
def test_what_misses_one_thing_does_not(filters: TaskFilter) -> None:
    assert not filters.matches(_task())


@pytest.mark.parametrize("state", ResultState)
def test_a_result_passes_by_its_state(state: ResultState) -> None:
    task = msgspec.structs.replace(package(), status=TaskStatus.DONE, result=Result(state=state))
    assert [each for each in ResultState if TaskFilter(result_state=each).matches(task)] == [state]
