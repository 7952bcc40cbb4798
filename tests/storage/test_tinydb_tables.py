"""Tests of the documented TinyDB API on the journal, with integer ids and with text ids."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tinydb import where
from tinydb.operations import add, decrement, delete, increment, subtract
from tinydb.operations import set as set_field
from tinydb.table import Document, Table
from tinydb.version import __version__ as tinydb_version

from sealyard.model.errors import StorageError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.tinydb_tables import JournalDatabase, JournalStorage, JournalTable, StringIdDatabase
from tests.support.store_helpers import FailingDisk, open_test_store


@pytest.fixture
def core(folder: Path) -> Iterator[TinyDocumentStore]:
    store = open_test_store(folder)
    yield store
    store.close()


@pytest.fixture
def db(core: TinyDocumentStore) -> JournalDatabase:
    return JournalDatabase(core)


def reopen(folder: Path) -> JournalDatabase:
    """Open the database read-only, as another process does."""
    return JournalDatabase(TinyDocumentStore.open_reader(folder, {}))


@pytest.fixture
def filled(db: JournalDatabase) -> JournalDatabase:
    db.insert_multiple({"n": n, "even": n % 2 == 0, "nested": {"list": [n]}} for n in range(1, 5))
    return db


def test_insert_assigns_ids_and_stores_document(folder: Path, db: JournalDatabase) -> None:
    assert db.insert({"n": 1}) == 1
    assert db.insert({"n": 2}) == 2
    assert db.insert(Document({"n": 7}, doc_id=7)) == 7
    assert db.insert({"n": 8}) == 8
    for each in (db, reopen(folder)):
        assert each.all() == [{"n": 1}, {"n": 2}, {"n": 7}, {"n": 8}]
        assert [document.doc_id for document in each] == [1, 2, 7, 8]


def test_insert_duplicate_id_or_non_mapping_raises(db: JournalDatabase) -> None:
    db.insert({"n": 1})
    with pytest.raises(ValueError, match="already exists"):
        db.insert(Document({"n": 2}, doc_id=1))
    with pytest.raises(ValueError, match="not a Mapping"):
        db.insert([1])
    assert db.all() == [{"n": 1}]


def test_insert_multiple_is_atomic(folder: Path, db: JournalDatabase) -> None:
    assert db.insert_multiple({"n": n} for n in range(100)) == list(range(1, 101))
    assert (folder / "journal-1.log").read_bytes().count(b"\n") == 2
    with pytest.raises(ValueError, match="already exists"):
        db.insert_multiple([{"n": 100}, Document({"n": 0}, doc_id=1)])
    assert len(db) == 100


def test_get_by_id_ids_or_condition(filled: JournalDatabase) -> None:
    assert filled.get(doc_id=2) == {"n": 2, "even": True, "nested": {"list": [2]}}
    assert filled.get(doc_id=9) is None
    assert [document["n"] for document in filled.get(doc_ids=[1, 3, 9])] == [1, 3]
    document = filled.get(where("n") == 3)
    assert isinstance(document, Document)
    assert document.doc_id == 3
    assert filled.get(where("n") == 9) is None
    with pytest.raises(RuntimeError):
        filled.get()


def test_search_count_and_contains(filled: JournalDatabase) -> None:
    assert [document["n"] for document in filled.search(where("even") == True)] == [2, 4]  # noqa: E712
    assert [document["n"] for document in filled.search((where("n") > 1) & ~(where("n") == 4))] == [2, 3]
    assert [document["n"] for document in filled.search(where("nested").list.any([1, 4]))] == [1, 4]
    assert filled.count(where("n") >= 3) == 2
    assert filled.contains(where("n") == 1)
    assert not filled.contains(where("n") == 0)
    assert filled.contains(doc_id=4)
    assert not filled.contains(doc_id=5)


def test_update_by_condition_ids_and_operation(folder: Path, filled: JournalDatabase) -> None:
    assert filled.update({"seen": True}) == [1, 2, 3, 4]
    assert filled.update({"n": 10}, where("n") == 1) == [1]
    assert filled.update(increment("n"), doc_ids=[1, 9]) == [1]
    assert filled.update(decrement("n"), where("n") == 2) == [2]
    assert filled.update(add("n", 5), where("n") == 3) == [3]
    assert filled.update(subtract("n", 1), where("n") == 4) == [4]
    assert filled.update(delete("seen"), where("even") == False) == [1, 3]  # noqa: E712
    assert filled.update(set_field("even", None), doc_ids=[4]) == [4]
    assert filled.update({"n": 0}, where("n") == 99) == []
    for each in (filled, reopen(folder)):
        assert [document["n"] for document in each] == [11, 1, 8, 3]
        assert ["seen" in document for document in each] == [False, True, False, True]
        assert [document["even"] for document in each] == [False, True, False, None]


def test_update_multiple_changes_matching_documents(filled: JournalDatabase) -> None:
    assert filled.update_multiple([({"n": 0}, where("n") == 1), (delete("even"), where("n") == 2)]) == [1, 2]
    assert filled.get(doc_id=1) == {"n": 0, "even": False, "nested": {"list": [1]}}
    assert filled.get(doc_id=2) == {"n": 2, "nested": {"list": [2]}}


def test_upsert_updates_or_inserts(filled: JournalDatabase) -> None:
    assert filled.upsert({"n": 2, "by": "condition"}, where("n") == 2) == [2]
    assert filled.upsert({"n": 77}, where("n") == 77) == [5]
    assert filled.upsert(Document({"n": 78}, doc_id=5)) == [5]
    assert filled.upsert(Document({"n": 79}, doc_id=9)) == [9]
    assert [document["n"] for document in filled] == [1, 2, 3, 4, 78, 79]
    with pytest.raises(ValueError, match="doc_id"):
        filled.upsert({"n": 1})


def test_remove_and_truncate(folder: Path, filled: JournalDatabase) -> None:
    assert filled.remove(where("even") == True) == [2, 4]  # noqa: E712
    assert filled.remove(doc_ids=[1, 9]) == [1]
    assert [document["n"] for document in reopen(folder)] == [3]
    with pytest.raises(RuntimeError):
        filled.remove()
    filled.truncate()
    for each in (filled, reopen(folder)):
        assert each.all() == []
        assert len(each) == 0
    assert filled.insert({"n": 1}) == 1


def test_tables_are_independent(folder: Path, db: JournalDatabase) -> None:
    for name in ("one", "two", "three"):
        db.table(name).insert({"in": name})
    assert db.tables() == {"one", "two", "three"}
    db.drop_table("two")
    db.drop_table("none")
    assert db.tables() == reopen(folder).tables() == {"one", "three"}
    assert db.table("two").all() == []
    assert db.table("one").all() == [{"in": "one"}]
    db.drop_tables()
    assert db.tables() == reopen(folder).tables() == set()
    assert db.table("one").insert({}) == 1


def test_returned_documents_are_copies(filled: JournalDatabase) -> None:
    table = filled.table("cached", cache_size=0)
    given: dict[str, dict[str, list[object]]] = {"nested": {"list": [1]}}
    table.insert(given)
    given["nested"]["list"].append("changed by the giver")
    for read in (table.all, lambda: table.search(where("nested").exists())):
        read()[0]["nested"]["list"].append("changed by a reader")
    assert table.all() == [{"nested": {"list": [1]}}]


def test_change_clears_query_cache(db: JournalDatabase) -> None:
    table = db.table("cached", cache_size=5)
    table.insert({"n": 1})
    assert table.count(where("n") == 1) == 1
    table.insert({"n": 1})
    assert table.count(where("n") == 1) == 2
    table.clear_cache()
    assert table.count(where("n") == 1) == 2


def test_change_without_effect_commits_nothing(folder: Path, filled: JournalDatabase) -> None:
    before = (folder / "journal-1.log").read_bytes()
    filled.update({"even": True}, where("even") == True)  # noqa: E712
    filled.remove(doc_ids=[99])
    assert (folder / "journal-1.log").read_bytes() == before


def test_change_commits_only_touched_documents(folder: Path, filled: JournalDatabase) -> None:
    filled.update({"n": 0}, where("n") == 3)
    assert (folder / "journal-1.log").read_bytes().splitlines()[-1].count(b'"nested"') == 1


def test_failed_commit_rolls_back_update(failing_disk: FailingDisk, filled: JournalDatabase) -> None:
    before = filled.all()
    failing_disk.fail("sync")
    with pytest.raises(StorageError):
        filled.update({"n": 0})
    assert filled.all() == before


def test_string_ids_support_all_operations(folder: Path, core: TinyDocumentStore) -> None:
    table = StringIdDatabase(core).table("tasks")
    assert table.insert(Document({"n": 1}, doc_id="t-1")) == "t-1"  # type: ignore[arg-type,comparison-overlap]
    many = [Document({"n": n}, doc_id=f"t-{n}") for n in (2, 3)]  # type: ignore[arg-type]
    assert table.insert_multiple(many) == ["t-2", "t-3"]  # type: ignore[comparison-overlap]
    assert table.get(doc_id="t-2") == {"n": 2}  # type: ignore[call-overload]
    assert [document["n"] for document in table.get(doc_ids=["t-1", "t-3"])] == [1, 3]
    assert table.update(increment("n"), where("n") == 3) == ["t-3"]  # type: ignore[comparison-overlap]
    assert table.upsert(Document({"n": 5}, doc_id="t-5")) == ["t-5"]  # type: ignore[arg-type,comparison-overlap]
    assert table.remove(where("n") == 1) == ["t-1"]  # type: ignore[comparison-overlap]
    assert [document.doc_id for document in table] == ["t-2", "t-3", "t-5"]  # type: ignore[comparison-overlap]
    assert table.contains(doc_id="t-5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an explicit ID"):
        table.insert({"n": 9})
    reopened = StringIdDatabase(TinyDocumentStore.open_reader(folder, {})).table("tasks")
    assert reopened.all() == [{"n": 2}, {"n": 4}, {"n": 5}]


def test_engine_and_tinydb_share_documents(core: TinyDocumentStore) -> None:
    core.submit(WriteBatch(puts=(("tasks", "t-1", {"n": 1}),))).result()
    assert core.database.table("tasks").search(where("n") == 1) == [{"n": 1}]
    core.database.table("tasks").update({"n": 2})
    assert core.get("tasks", "t-1") == {"n": 2}


class UnusableStorage(JournalStorage):
    """Fails if TinyDB bypasses the two overridden methods."""

    def read(self) -> Any:
        raise AssertionError("TinyDB reads the whole database")

    def write(self, data: Any) -> None:
        raise AssertionError("TinyDB writes the whole database")


def test_table_never_uses_the_storage(core: TinyDocumentStore) -> None:
    table = JournalTable(UnusableStorage(core), "t")
    table.insert({"n": 1})
    table.insert_multiple([{"n": 2}, {"n": 3}])
    table.update({"m": 1})
    table.update({"m": 1}, where("n") == 1)
    table.update_multiple([({"m": 2}, where("n") == 2)])
    table.upsert({"n": 4}, where("n") == 4)
    table.remove(where("n") == 3)
    assert len(table) == 3
    assert [document["n"] for document in table] == [1, 2, 4]
    assert table.contains(doc_id=1)
    assert table.get(doc_ids=[1])
    assert table.search(where("m").exists())
    table.truncate()
    assert table.all() == []


def test_tinydb_still_has_overridden_methods() -> None:
    assert tinydb_version.startswith("4.")
    assert list(inspect.signature(Table._read_table).parameters) == ["self"]
    assert list(inspect.signature(Table._update_table).parameters) == ["self", "updater"]
    assert list(inspect.signature(Table._get_next_id).parameters) == ["self"]
    source = inspect.getsource(Table)
    outside = source.replace(inspect.getsource(Table._read_table), "").replace(
        inspect.getsource(Table._update_table), ""
    )
    assert "_storage.read" not in outside
    assert "_storage.write" not in outside
