"""Tests of the document store: access by id, pages of lists, and readers that follow a writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.model.errors import StorageError, UsageError
from sealyard.storage import reader as reader_module
from sealyard.storage.documents import DocumentStore, Page, TinyDocumentStore, WriteBatch
from sealyard.storage.generation import load
from sealyard.storage.in_memory import InMemoryTables
from sealyard.storage.index import TableIndex, encode_cursor
from tests.support.extent import scale_examples
from tests.support.store_helpers import FailingDisk, OpenStore, open_test_store, read_documents


def task(n: int, status: str = "DONE", **fields: Any) -> tuple[str, str, dict[str, Any]]:
    return "tasks", f"t-{n}", {"createdAt": f"2026-01-01T00:00:{n:02d}Z", "status": status, **fields}


def ids(page: Page) -> list[str]:
    return [identity for identity, _ in page.documents]


def test_store_implements_document_store(open_store: OpenStore) -> None:
    store: DocumentStore = open_store()
    store.submit(WriteBatch(puts=(task(1),), deletes=(("tasks", "none"),))).result()
    assert store.get("tasks", "t-1") == task(1)[2]
    assert store.get("tasks", "t-2") is None
    assert store.get("none", "t-1") is None
    assert list(store.all("tasks")) == [("t-1", task(1)[2])]
    assert list(store.all("none")) == []
    assert (store.count("tasks"), store.count("none")) == (1, 0)
    assert (store.ids("tasks", "t-"), store.ids("tasks", "u"), store.ids("none", "")) == (["t-1"], [], [])
    assert store.refresh() is False


def test_returned_documents_are_copies(open_store: OpenStore) -> None:
    store = open_store()
    store.submit(
        WriteBatch(puts=(("acl", "a", {"rules": [1]}),), audit=({"seq": 1},), events=({"cursor": 1},))
    ).result()
    results = [store.get("acl", "a"), next(store.all("acl"))[1], store.page("acl", filters={}, limit=1).documents[0][1]]
    for document in results:
        assert document is not None
        document["rules"].append(2)
    store.pending_audit()[0]["seq"] = 2
    store.recent_events()[0]["cursor"] = 2
    assert store.get("acl", "a") == {"rules": [1]}
    assert store.pending_audit() == [{"seq": 1}]
    assert store.recent_events() == [{"cursor": 1}]


def test_pending_audit_starts_with_given_entry(open_store: OpenStore) -> None:
    store = open_store()
    for seq in (3, 4, 5):
        store.submit(WriteBatch(audit=({"seq": seq},))).result()
    for first, seqs in ((0, [3, 4, 5]), (3, [3, 4, 5]), (5, [5]), (6, [])):
        assert [entry["seq"] for entry in store.pending_audit(first)] == seqs


CHANGES = st.lists(st.tuples(st.text("ab0", min_size=1, max_size=3), st.booleans()), max_size=30)


@given(st.sets(st.text("ab0", min_size=1, max_size=3)), CHANGES, st.text("ab0", max_size=3))
def test_ids_by_prefix_match_after_changes(first: set[str], changes: list[tuple[str, bool]], prefix: str) -> None:
    memory = InMemoryTables({}, {"tasks": dict.fromkeys(first, b"{}")})
    for identity, is_put in changes:
        inverse = memory.apply([("tasks", identity, b"{}" if is_put else None)])
        matching = memory.ids("tasks", prefix)
        assert matching == sorted(each for each in memory.tables["tasks"] if each.startswith(prefix))
        memory.apply(inverse)
        assert memory.ids("tasks", "") == sorted(memory.tables["tasks"])
        memory.apply([("tasks", identity, b"{}" if is_put else None)])
    assert memory.ids("none", prefix) == []


def test_all_returns_documents_at_call_time(open_store: OpenStore) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=(task(1), task(2)))).result()
    documents = store.all("tasks")
    store.submit(WriteBatch(puts=(task(3),), deletes=(("tasks", "t-2"),)))
    assert [identity for identity, _ in documents] == ["t-1", "t-2"]


def test_pages_follow_the_sort_order(open_store: OpenStore) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=tuple(task(n) for n in (3, 1, 2, 5, 4)))).result()
    first = store.page("tasks", filters={}, limit=2)
    assert (ids(first), first.total) == (["t-5", "t-4"], 5)
    second = store.page("tasks", filters={}, cursor=first.next, limit=2)
    assert ids(second) == ["t-3", "t-2"]
    last = store.page("tasks", filters={}, cursor=second.next, limit=2)
    assert (ids(last), last.next) == (["t-1"], None)
    oldest = store.page("tasks", filters={}, newest_first=False, limit=3)
    assert ids(oldest) == ["t-1", "t-2", "t-3"]
    assert ids(store.page("tasks", filters={}, newest_first=False, cursor=oldest.next, limit=3)) == ["t-4", "t-5"]


def test_cursor_survives_insert_and_delete(open_store: OpenStore) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=tuple(task(n) for n in range(5)))).result()
    cursor = store.page("tasks", filters={}, limit=2).next
    store.submit(WriteBatch(puts=(task(9),), deletes=(("tasks", "t-3"),))).result()
    assert ids(store.page("tasks", filters={}, cursor=cursor, limit=2)) == ["t-2", "t-1"]


def test_whole_seconds_sort_before_fractions(open_store: OpenStore) -> None:
    store = open_store()
    times = ["2026-01-01T00:00:01Z", "2026-01-01T00:00:01.000001Z", "2026-01-01T00:00:02Z"]
    store.submit(WriteBatch(puts=tuple(("tasks", str(n), {"createdAt": at}) for n, at in enumerate(times)))).result()
    assert ids(store.page("tasks", filters={}, newest_first=False, limit=9)) == ["0", "1", "2"]


def test_unknown_filter_or_cursor_is_rejected(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(UsageError, match="Unknown filter colour"):
        store.page("tasks", filters={"colour": "red"}, limit=9)
    with pytest.raises(UsageError, match="Invalid list cursor"):
        store.page("tasks", filters={}, cursor="nonsense", limit=9)


FIELDS = ("status", "kind")
values = st.sampled_from(["A", "B", None, 3])
list_documents = st.fixed_dictionaries(
    {}, optional={"status": values, "kind": values, "createdAt": st.sampled_from(["1", "2", "3"])}
)
steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | list_documents), max_size=30)


@settings(max_examples=scale_examples(150), deadline=None)
@given(
    before=steps,
    after=steps,
    filters=st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["A", "B"])),
    newest_first=st.booleans(),
    limit=st.integers(1, 4),
)
def test_pages_equal_sorted_and_filtered_documents(
    before: list[Any], after: list[Any], filters: dict[str, str], newest_first: bool, limit: int
) -> None:
    memory = InMemoryTables({"t": FIELDS})
    expected: dict[str, dict[str, Any]] = {}

    def apply(all_steps: list[Any]) -> list[Any]:
        for identity, document in all_steps:
            if document is None:
                expected.pop(identity, None)
            else:
                expected[identity] = document
        return memory.apply(("t", i, None if d is None else msgspec.json.encode(d)) for i, d in all_steps)

    def walk(index: TableIndex) -> list[str]:
        identities: list[str] = []
        cursor = None
        while True:
            page, more, total = index.page(filters, newest_first, cursor, limit)
            assert total == len(matching)
            identities += [identity for _, identity in page]
            if not more:
                return identities
            cursor = encode_cursor(page[-1])

    def in_order(documents: dict[str, dict[str, Any]]) -> list[str]:
        hits = [(d.get("createdAt", ""), i) for i, d in documents.items() if filters.items() <= d.items()]
        return [identity for _, identity in sorted(hits, reverse=newest_first)]

    apply(before)
    matching = in_order(expected)
    assert walk(memory.index("t")) == matching
    initial, first = dict(expected), matching
    undo = apply(after)
    matching = in_order(expected)
    assert walk(memory.index("t")) == matching
    memory.apply(undo)
    matching = first
    assert walk(memory.index("t")) == first
    assert {i: msgspec.json.decode(d) for i, d in memory.tables.get("t", {}).items()} == initial


@pytest.mark.parametrize("newest_first", [True, False])
def test_page_json_continues_after_any_document(open_store: OpenStore, newest_first: bool) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=tuple(task(number) for number in range(5)))).result()

    def ids(after: str | None, limit: int = 9) -> list[str]:
        page = store.page("tasks", filters={}, newest_first=newest_first, cursor=after, limit=limit)
        return [identity for identity, _ in page.documents]

    all_ids = ids(None)
    for limit in (3, 5, 9):
        page = store.page_json("tasks", filters={}, newest_first=newest_first, limit=limit)
        assert [identity for _, identity in page.keys] == all_ids[:limit]
        assert [msgspec.json.decode(each) for each in page.documents] == [
            store.get("tasks", identity) for identity in all_ids[:limit]
        ]
        for count in range(1, len(page.keys) + 1):
            cursor = page.cursor(count)
            assert (ids(cursor) if cursor is not None else []) == all_ids[count:]
    assert store.page_json("nothing", filters={}, limit=3).cursor(0) is None


def test_reader_follows_the_writer(open_store: OpenStore) -> None:
    writer = open_store()
    writer.submit(WriteBatch(puts=(task(1),), audit=({"seq": 1},))).result()
    reader = open_store(write=False)
    assert read_documents(reader) == read_documents(writer)
    assert reader.refresh() is False
    assert ids(reader.page("tasks", filters={"status": "DONE"}, limit=9)) == ["t-1"]
    writer.submit(
        WriteBatch(puts=(task(2),), deletes=(("tasks", "t-1"),), audit=({"seq": 2},), events=({"c": 1},))
    ).result()
    assert reader.refresh() is True
    assert read_documents(reader) == read_documents(writer)
    assert ids(reader.page("tasks", filters={"status": "DONE"}, limit=9)) == ["t-2"]
    assert reader.pending_audit() == [{"seq": 1}, {"seq": 2}]
    assert reader.recent_events() == [{"c": 1}]


def test_reader_follows_through_compactions(open_store: OpenStore) -> None:
    writer = open_store()
    reader = open_store(write=False)
    for n in range(4):
        writer.submit(WriteBatch(puts=(task(n),), events=({"c": n},))).result()
        writer.compact(0)
        if n != 1:  # the reader skips one generation
            assert reader.refresh() is True
            assert read_documents(reader) == read_documents(writer)
            assert reader.recent_events() == [{"c": each} for each in range(n + 1)]
    assert reader.refresh() is False


def test_reader_ignores_incomplete_frame(folder: Path, open_store: OpenStore) -> None:
    writer = open_store()
    writer.submit(WriteBatch(puts=(task(1),))).result()
    writer.submit(WriteBatch(puts=(task(2),))).result()
    writer.close()
    journal = folder / "journal-1.log"
    content = journal.read_bytes()
    journal.write_bytes(content[:-10])
    reader = open_store(write=False)
    assert reader.count("tasks") == 1
    assert reader.torn is None
    assert reader.refresh() is False
    assert journal.read_bytes() == content[:-10]
    journal.write_bytes(content)
    assert reader.refresh() is True
    assert reader.count("tasks") == 2


def test_reader_drops_rolled_back_frame(
    open_store: OpenStore, failing_disk: FailingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader reads the frame after the write and before the sync that fails."""
    writer = open_store()
    writer.submit(WriteBatch(puts=(task(1),))).result()
    reader = open_store(write=False)
    refreshed: list[bool] = []

    def refresh_and_fail() -> Exception:
        refreshed.append(reader.refresh())
        return OSError(5, "Input/output error")

    failing_disk.error = refresh_and_fail
    failing_disk.fail("sync")
    with pytest.raises(StorageError):
        writer.submit(WriteBatch(puts=(task(2, text="long " * 20),))).result()
    assert refreshed == [True]
    assert reader.count("tasks") == 2
    assert reader.refresh() is True
    assert read_documents(reader) == read_documents(writer)
    writer.submit(WriteBatch(puts=(task(3),))).result()
    assert reader.refresh() is True
    assert read_documents(reader) == read_documents(writer)


def test_reader_opens_during_compaction(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_store()
    writer.submit(WriteBatch(puts=(task(1),))).result()
    attempts: list[int] = []

    def load_after_compaction(folder: Path) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise FileNotFoundError("journal-1.log")
        return load(folder)

    monkeypatch.setattr(reader_module, "load", load_after_compaction)
    assert open_store(write=False).count("tasks") == 1


def test_reopened_store_keeps_all_documents(open_store: OpenStore) -> None:
    for n in range(5):
        store: TinyDocumentStore = open_store()
        assert store.count("tasks") == n
        store.submit(WriteBatch(puts=(task(n),))).result()
        store.close()


def test_filter_by_nested_field_matches(folder: Path) -> None:
    store = open_test_store(folder, {"t": ("state", "inner.state")})
    for identity, inner in (("a", {"state": "on"}), ("b", {"state": "off"}), ("c", {}), ("d", None), ("e", "on")):
        document = {"createdAt": "2026-01-01T00:00:00Z", "state": "up", "inner": inner}
        store.submit(WriteBatch(puts=(("t", identity, document),))).result()
    assert [each for each, _ in store.page("t", filters={"inner.state": "on"}, limit=9).documents] == ["a"]
    assert store.count("t", {"state": "up"}) == 5
    assert store.count("t", {"state": "up", "inner.state": "off"}) == 1
    store.submit(WriteBatch(puts=(("t", "a", {"createdAt": "", "inner": {"state": "off"}}),))).result()
    assert store.count("t", {"inner.state": "on"}) == 0
    assert store.count("t", {"inner.state": "off"}) == 2
    store.close()
