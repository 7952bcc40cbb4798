"""Which tasks a filter lets through."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.requests import TaskFilter, TaskSearchFields
from sealyard.model.tasks import Result, ResultState, Task, TaskKind, TaskStatus
from tests.support.factories.tasks import file, package, waiting


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
        TaskFilter(awaiting_my_approval=True),
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


_texts = st.text(alphabet='aA"\\/{}[],:nul\n\t\x00\x1f\x7fßſKİıσςΣﬁéÉ\u2028😀', max_size=6) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=6
)


@given(names=st.lists(_texts, min_size=2, max_size=5), text=_texts, begin=st.integers(0, 20), end=st.integers(0, 20))
def test_a_text_is_found_in_the_names_alone_where_it_is_found_in_the_whole_task(
    names: list[str], text: str, begin: int, end: int
) -> None:
    first, *inputs, last = names
    task = msgspec.structs.replace(
        waiting(), name=first, inputs=tuple(file(each) for each in inputs), metadata=(file(last),)
    )
    read = msgspec.json.decode(msgspec.json.encode(task), type=TaskSearchFields)
    for each in (text, "\n".join(names)[begin:end], text.swapcase()):
        filters = TaskFilter(text=each)
        assert filters.matches_text(read) == filters.matches(task)
