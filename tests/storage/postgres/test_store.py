"""Test the document store in PostgreSQL: commits, loading, generations and refused texts."""

from __future__ import annotations

from concurrent.futures import wait

import msgspec
import pytest

from sealyard.model.errors import InvalidInputError, StoreCorruptedError, WorkspaceLockedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.pending_log import MAX_EVENTS
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.postgres import TestDatabase
from tests.support.postgres_store import open_pg_store
from tests.support.store_helpers import read_documents


def put(store: TinyDocumentStore, identity: str = "a", table: str = "tasks", **document: object) -> None:
    store.submit(WriteBatch(puts=((table, identity, document),))).result()


def test_new_store_is_empty(store: TinyDocumentStore) -> None:
    assert read_documents(store) == {}
    assert store.generation is not None
    assert store.generation.number == 1


def test_reopened_store_has_committed_documents(store: TinyDocumentStore, open_store: OpenPgStore) -> None:
    put(store, "a", n=1, text="ünïcode \\u0000 \\ \n")
    put(store, "b", n=2)
    put(store, "a", n=3, text='"')
    put(store, "k", "keys", n=2**60, x=1.5, none=None)
    store.submit(WriteBatch(deletes=(("tasks", "b"), ("tasks", "missing")))).result()
    expected = read_documents(store)
    store.close()
    assert (
        read_documents(open_store())
        == expected
        == {
            "tasks": {"a": {"n": 3, "text": '"'}},
            "keys": {"k": {"n": 2**60, "x": 1.5, "none": None}},
        }
    )


def test_documents_are_stored_byte_for_byte(store: TinyDocumentStore, open_store: OpenPgStore) -> None:
    document = b'{"z": 1,"a" :1.0, "a":2e0,  "u":"\\u00fc"}'
    store.submit(WriteBatch(puts=(("tasks", "a", msgspec.Raw(document)),))).result()
    store.close()
    assert open_store().get_json("tasks", "a") == document


def test_batches_of_one_group_are_applied_in_order(store: TinyDocumentStore, open_store: OpenPgStore) -> None:
    batches = [WriteBatch(puts=(("tasks", f"t{number % 3}", {"n": number}),)) for number in range(50)]
    batches += [WriteBatch(deletes=(("tasks", "t0"),)), WriteBatch(puts=(("tasks", "t1", {"n": "last"}),))]
    wait([store.submit(batch) for batch in batches])
    store.close()
    assert read_documents(open_store()) == {"tasks": {"t1": {"n": "last"}, "t2": {"n": 47}}}


def test_recent_events_survive_and_older_ones_are_removed(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase
) -> None:
    events = tuple({"cursor": cursor} for cursor in range(1, MAX_EVENTS + 3))
    store.submit(WriteBatch(events=events)).result()
    store.submit(WriteBatch(events=({"cursor": MAX_EVENTS + 3},))).result()
    store.close()
    cursors = [event["cursor"] for event in open_store().recent_events()]
    assert (cursors[0], cursors[-1], len(cursors)) == (4, MAX_EVENTS + 3, MAX_EVENTS)
    assert database.execute("SELECT count(*) FROM sealyard.event") == [(MAX_EVENTS,)]


@pytest.mark.parametrize(
    "batch",
    [
        WriteBatch(puts=(("tasks", "a", {"name": "a\0b"}),)),
        WriteBatch(puts=(("tasks", "a\0", {}),)),
        WriteBatch(deletes=(("tasks", "a\0"),)),
        WriteBatch(events=({"cursor": 1, "\0": ""},)),
        WriteBatch(puts=(("tasks", "a", {"name": "\\\0"}),)),
    ],
)
def test_nul_character_is_refused_before_the_change_is_visible(store: TinyDocumentStore, batch: WriteBatch) -> None:
    with pytest.raises(InvalidInputError, match=r"U\+0000"):
        store.submit(batch)
    assert read_documents(store) == {}
    put(store, n=1)


def test_escaped_backslash_before_u0000_is_no_nul_character(store: TinyDocumentStore) -> None:
    put(store, text="\\u0000")
    assert store.get("tasks", "a") == {"text": "\\u0000"}


def test_each_opening_is_the_next_generation(store: TinyDocumentStore, open_store: OpenPgStore) -> None:
    first = store.generation
    store.close()
    second = open_store(recorded=first).generation
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (1, 2)


def test_generation_before_the_crash_between_take_over_and_record_is_accepted(
    store: TinyDocumentStore, open_store: OpenPgStore
) -> None:
    first = store.generation
    store.close()
    open_store(recorded=first).close()
    assert open_store(recorded=first).generation != first


def test_older_database_is_refused(open_store: OpenPgStore, database: TestDatabase) -> None:
    open_store().close()
    copy = database.server.create_database(database.name)
    for _ in range(2):
        store = open_store()
        store.close()
    with pytest.raises(StoreCorruptedError, match="older state"):
        open_pg_store(copy.connection_string, store.generation)


def test_other_history_with_the_recorded_number_is_refused(open_store: OpenPgStore, database: TestDatabase) -> None:
    store = open_store()
    put(store)
    store.close()
    copy = database.server.create_database(database.name)
    recorded = open_store().generation
    other = open_pg_store(copy.connection_string)
    put(other, "b")
    other.close()
    other = open_pg_store(copy.connection_string)
    other.close()
    with pytest.raises(StoreCorruptedError, match="replaced"):
        open_pg_store(copy.connection_string, recorded)


def test_removed_workspace_is_refused(open_store: OpenPgStore, database: TestDatabase) -> None:
    store = open_store()
    store.close()
    database.execute("DELETE FROM sealyard.workspace")
    with pytest.raises(StoreCorruptedError, match="removed"):
        open_store(recorded=store.generation)


def test_second_engine_is_refused_while_the_lease_is_held(store: TinyDocumentStore, open_store: OpenPgStore) -> None:
    with pytest.raises(WorkspaceLockedError, match="Another engine"):
        open_store()
    put(store)
