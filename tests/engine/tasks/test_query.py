"""Tasks by the beginning of an id, at the cost of what begins so; and lists that tell nothing of what is hidden."""

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
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, EngineHarness

pytestmark = pytest.mark.anyio

MANY = 40


class CountingStore:
    """A store that counts the documents it hands out."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self.handed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_json(self, table: str, id: str) -> bytes | None:  # noqa: A002
        document = self._store.get_json(table, id)
        self.handed += document is not None
        return document

    def all(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for each in self._store.all(table):
            self.handed += 1
            yield each


@pytest.fixture
async def store(harness: EngineHarness) -> CountingStore:
    """With tasks ``many00zzzz`` to ``many39zzzz``."""
    model = await harness.package()
    ids = [f"many{ALPHABET[number // 10]}{number % 10}zzzz" for number in range(MANY)]
    await harness.insert_tasks(*(msgspec.structs.replace(model, id=task_id) for task_id in ids))
    harness.engine.permissions.permissions_of(DEV)  # read from the store now, and known from then on
    counting = CountingStore(harness.engine.repository.store)
    harness.engine.repository.store = counting
    return counting


@pytest.mark.parametrize("unknown", ["none", "zzzzzzzzzz", "many9", "MANY", "ma\x1b", "man%", "manyoozz", "many" * 9])
async def test_what_is_no_beginning_of_an_id_costs_no_look_at_a_task(
    harness: EngineHarness, store: CountingStore, unknown: str
) -> None:
    with pytest.raises(NotFoundError):
        harness.engine.queries.get(DEV, unknown)
    assert store.handed == 0


async def test_the_beginning_of_an_id_costs_a_look_at_the_tasks_that_begin_so(
    harness: EngineHarness, store: CountingStore
) -> None:
    assert harness.engine.queries.get(DEV, "many23").id == "many23zzzz"
    assert store.handed == 1
    with pytest.raises(UsageError, match="10 task IDs start with many1"):
        harness.engine.queries.get(DEV, "many1")
    assert store.handed == 11


async def test_a_task_that_one_may_not_see_makes_no_beginning_ambiguous(harness: EngineHarness) -> None:
    seen = await harness.package()
    other = msgspec.structs.replace(
        seen, id=seen.id[:5] + "zzzzz", created_by=ADMIN, config_id="another", approval_digest=""
    )
    await harness.insert_tasks(other)
    assert harness.engine.queries.get(DEV, seen.id[:5]).id == seen.id


async def asked(harness: EngineHarness, subject: str, config: str) -> str:
    """What a list of the configuration's tasks answers, with its name left out."""
    try:
        page = await harness.engine.queries.list_tasks(subject, TaskFilter(config=config), None, 10)
    except NotFoundError as error:
        return str(error).replace(config, "*")
    return str(len(page.tasks))


async def test_a_list_of_a_configuration_that_is_hidden_is_refused_as_one_that_is_not_there(
    harness: EngineHarness,
) -> None:
    await harness.package()
    await harness.add_subject("USER:stranger")
    config_id = harness.engine.repository.device(GATEWAY).id
    hidden = {await asked(harness, "USER:stranger", each) for each in (GATEWAY, config_id, "nothing")}
    assert len(hidden) == 1
    assert "Device configuration * not found." in hidden.pop()


async def test_who_may_not_see_a_configuration_any_more_still_lists_the_own_tasks_of_it(harness: EngineHarness) -> None:
    await harness.package()
    await harness.remove_rule(DEV, Action.USE)
    assert await asked(harness, DEV, GATEWAY) == "1"
