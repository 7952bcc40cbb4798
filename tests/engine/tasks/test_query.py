"""Tests of task lookup by ID prefix, and of the order and visibility in task lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sealyard.engine.state.ids import ALPHABET
from sealyard.model.access import Action
from sealyard.model.errors import NotFoundError, UsageError
from sealyard.model.requests import TaskFilter
from sealyard.storage.documents import DocumentStore
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

TASK_COUNT = 40


class CountingStore:
    """A store that counts the documents it returns."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self.read_count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_json(self, table: str, id: str) -> bytes | None:  # noqa: A002
        document = self._store.get_json(table, id)
        self.read_count += document is not None
        return document

    def all(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for each in self._store.all(table):
            self.read_count += 1
            yield each


@pytest.fixture
async def store(harness: EngineHarness) -> CountingStore:
    """Return a counting store that contains the tasks ``many00zzzz`` to ``many39zzzz``."""
    template = await harness.package()
    ids = [f"many{ALPHABET[number // 10]}{number % 10}zzzz" for number in range(TASK_COUNT)]
    await harness.insert_tasks(*(msgspec.structs.replace(template, id=task_id) for task_id in ids))
    harness.engine.permissions.permissions_of(DEV)  # fills the cache, so that the test counts no rules
    counting_store = CountingStore(harness.engine.repository.store)
    harness.engine.repository.store = counting_store
    return counting_store


@pytest.mark.parametrize("unknown", ["none", "zzzzzzzzzz", "many9", "MANY", "ma\x1b", "man%", "manyoozz", "many" * 9])
async def test_unknown_id_prefix_reads_no_tasks(harness: EngineHarness, store: CountingStore, unknown: str) -> None:
    with pytest.raises(NotFoundError):
        harness.engine.queries.get(DEV, unknown)
    assert store.read_count == 0


async def test_id_prefix_reads_only_matching_tasks(harness: EngineHarness, store: CountingStore) -> None:
    assert harness.engine.queries.get(DEV, "many23").id == "many23zzzz"
    assert store.read_count == 3, "the task, its signing key and its configuration"
    with pytest.raises(UsageError, match="10 task IDs start with many1"):
        harness.engine.queries.get(DEV, "many1")
    assert store.read_count == 13


async def test_hidden_task_keeps_id_prefix_unique(harness: EngineHarness) -> None:
    visible_task = await harness.package()
    hidden_task = msgspec.structs.replace(
        visible_task, id=visible_task.id[:5] + "zzzzz", created_by=ADMIN, config_id="another", approval_digest=""
    )
    await harness.insert_tasks(hidden_task)
    assert harness.engine.queries.get(DEV, visible_task.id[:5]).id == visible_task.id


async def describe_list(harness: EngineHarness, subject: str, config: str) -> str:
    """Return the number of listed tasks, or the error message without the name of the configuration."""
    try:
        page = await harness.engine.queries.list_tasks(subject, TaskFilter(config=config), None, 10)
    except NotFoundError as error:
        return str(error).replace(config, "*")
    return str(len(page.tasks))


async def test_list_hides_existence_of_configuration(
    harness: EngineHarness,
) -> None:
    await harness.package()
    await harness.add_subject("USER:stranger")
    config_id = harness.engine.repository.device(GATEWAY).id
    responses = {await describe_list(harness, "USER:stranger", each) for each in (GATEWAY, config_id, "nothing")}
    assert len(responses) == 1
    assert "Device configuration * not found." in responses.pop()


async def test_list_includes_own_tasks_without_permission(harness: EngineHarness) -> None:
    await harness.package()
    await harness.remove_rule(DEV, Action.USE)
    assert await describe_list(harness, DEV, GATEWAY) == "1"


async def test_list_pages_are_newest_first(harness: EngineHarness) -> None:
    task_ids = []
    for _ in range(5):
        await harness.advance_clock(seconds=1)
        task_ids.append((await harness.package()).id)
    listed_ids: list[str] = []
    after = None
    while True:
        page = await harness.engine.queries.list_tasks(SECOND, TaskFilter(), after, 2)
        listed_ids += [each.id for each in page.tasks]
        if (after := page.next) is None:
            break
    assert listed_ids == task_ids[::-1]


async def test_list_oldest_first_reverses_order(harness: EngineHarness) -> None:
    task_ids = []
    for _ in range(3):
        await harness.advance_clock(seconds=1)
        task_ids.append((await harness.package()).id)
    page = await harness.engine.queries.list_tasks(SECOND, TaskFilter(oldest_first=True), None, 2)
    next_page = await harness.engine.queries.list_tasks(SECOND, TaskFilter(oldest_first=True), page.next, 2)
    assert [each.id for each in (*page.tasks, *next_page.tasks)] == task_ids
