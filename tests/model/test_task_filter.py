"""Tests of the task filter."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.requests import TaskFilter
from sealyard.model.task_search import TaskSearchFields
from sealyard.model.tasks import REJECTED_CODE, Result, ResultState, Task, TaskKind, TaskStatus
from tests.support.factories.tasks import file, package, waiting


def _make_task() -> Task:
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
def test_matching_filter_accepts_task(filters: TaskFilter) -> None:
    assert filters.matches(_make_task())


@pytest.mark.parametrize(
    "filters",
    [
        TaskFilter(status=TaskStatus.DONE),
        TaskFilter(kind=TaskKind.SIGNING),
        TaskFilter(config="gate"),
        TaskFilter(created_by="USER:owner"),
        TaskFilter(result_state=ResultState.AVAILABLE),
        TaskFilter(text="no match"),
        TaskFilter(status=TaskStatus.WAITING, text="no match"),
    ],
)
def test_non_matching_filter_rejects_task(filters: TaskFilter) -> None:
    assert not filters.matches(_make_task())


@pytest.mark.parametrize("state", ResultState)
def test_filter_by_result_state(state: ResultState) -> None:
    task = msgspec.structs.replace(package(), status=TaskStatus.DONE, result=Result(state=state))
    assert [each for each in ResultState if TaskFilter(result_state=each).matches(task)] == [state]


@pytest.mark.parametrize("text", ["Waiting", "GATEWAY", "gateway v", "dana", "dev", "olga"])
def test_text_is_searched_in_everything_that_lists_show(text: str) -> None:
    names = {"USER:dev": "Dana Developer", "USER:owner": "Olga Owner"}
    task = msgspec.structs.replace(_make_task(), reason="Rejected by USER:owner: wrong file")
    assert TaskFilter(text=text).matches(task, names)
    assert not TaskFilter(text="user:dev").matches(task, names)


def test_text_finds_status_result_and_reason() -> None:
    done = msgspec.structs.replace(package(), status=TaskStatus.DONE, result=Result(state=ResultState.EXPIRED))
    queued = msgspec.structs.replace(package(), status=TaskStatus.SCHEDULED)
    failed = msgspec.structs.replace(package(), status=TaskStatus.FAILED, reason="The input is damaged.")
    rejected = msgspec.structs.replace(package(), status=TaskStatus.CANCELLED, reason_code=REJECTED_CODE)
    tasks = {"done": done, "queued": queued, "failed": failed, "rejected": rejected}
    for text, matches in {
        "done": ["done"],
        "expired": ["done"],
        "queued": ["queued"],
        "scheduled": ["queued"],
        "failed": ["failed"],
        "DAMAGED": ["failed"],
        "rejected": ["rejected"],
        "cancelled": ["rejected"],
        "withdrawn": [],
    }.items():
        assert [name for name, task in tasks.items() if TaskFilter(text=text).matches(task)] == matches


_texts = st.text(alphabet='aA"\\/{}[],:nul\n\t\x00\x1f\x7fßſKİıσςΣﬁéÉ\u2028😀', max_size=6) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=6
)


@given(names=st.lists(_texts, min_size=2, max_size=5), text=_texts, begin=st.integers(0, 20), end=st.integers(0, 20))
def test_matches_text_agrees_with_matches(names: list[str], text: str, begin: int, end: int) -> None:
    first, *inputs, last = names
    task = msgspec.structs.replace(
        waiting(),
        name=first,
        inputs=tuple(file(each) for each in inputs),
        metadata=(file(last),),
        status=TaskStatus.CANCELLED,
        reason_code=REJECTED_CODE,
    )
    fields = msgspec.json.decode(msgspec.json.encode(task), type=TaskSearchFields)
    for each in (text, "\n".join(names)[begin:end], text.swapcase(), "rejected"):
        filters = TaskFilter(text=each)
        assert filters.matches_text(fields) == filters.matches(task)
