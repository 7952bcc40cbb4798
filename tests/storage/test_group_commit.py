"""Units of work: seen at once, durable together, taken back together."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sealyard.fs import atomic
from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from tests.support.store_helpers import Open, documents


class Gate:
    """Holds the journal's writes back until it is opened; then they go through, or fail."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.error: OSError | None = None

    def open(self, error: OSError | None = None) -> None:
        self.error = error
        self.opened.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, open_store: Open) -> Iterator[Callable[[], Gate]]:
    gates: list[Gate] = []
    write_all = atomic.write_all

    def shut() -> Gate:
        gates.append(Gate())
        return gates[-1]

    def held(fd: int, data: bytes) -> None:
        if gates:
            gates[-1].reached.set()
            gates[-1].opened.wait(10)
            if gates[-1].error is not None:
                raise gates[-1].error
        write_all(fd, data)

    monkeypatch.setattr(atomic, "write_all", held)
    yield shut
    for each in gates:
        each.open()


def put(name: str, **document: Any) -> WriteBatch:
    return WriteBatch(puts=(("tasks", name, document),))


def test_a_change_is_seen_at_once_and_durable_when_its_future_is_done(
    open_store: Open, gate: Callable[[], Gate]
) -> None:
    store = open_store()
    shut = gate()
    future = store.submit(put("a", n=1))
    assert shut.reached.wait(10)
    assert store.get("tasks", "a") == {"n": 1}
    assert documents(open_store(write=False)) == {}
    assert not future.done()
    shut.open()
    assert future.result(10) is None
    assert documents(open_store(write=False)) == {"tasks": {"a": {"n": 1}}}


def test_units_that_wait_share_one_write_and_are_answered_in_order(
    folder: Path, open_store: Open, gate: Callable[[], Gate]
) -> None:
    store = open_store()
    shut = gate()
    answered: list[int] = []
    first = store.submit(put("first"))
    assert shut.reached.wait(10)
    futures = [store.submit(put(str(n))) for n in range(50)]
    for n, future in enumerate(futures):
        future.add_done_callback(lambda _future, n=n: answered.append(n))  # type: ignore[misc]
    shut.open()
    for future in (first, *futures):
        future.result(10)
    store.close()
    assert answered == list(range(50))
    lines = (folder / "journal-1.log").read_bytes().splitlines()
    assert len(lines) == 3  # the header, the first unit, all others


def test_a_failed_write_takes_back_all_that_wait_and_nothing_else(open_store: Open, gate: Callable[[], Gate]) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=(("tasks", "a", {"n": 0}), ("tasks", "b", {})), audit=({"seq": 1},))).result()
    before = documents(store)
    shut = gate()
    failed = [store.submit(put("a", n=1))]
    assert shut.reached.wait(10)
    failed.append(store.submit(WriteBatch(puts=(("tasks", "a", {"n": 2}),), deletes=(("tasks", "b"),))))
    failed.append(store.submit(WriteBatch(puts=(("other", "c", {}),), audit=({"seq": 2},), events=({"cursor": 1},))))
    shut.open(OSError(errno.EIO, "Input/output error"))
    for future in failed:
        with pytest.raises(StorageError, match="Disk error while writing the change"):
            future.result(10)
    assert documents(store) == before
    assert store.pending_audit() == [{"seq": 1}]
    assert store.recent_events() == []

    shut.error = None
    store.submit(put("d")).result(10)
    store.close()
    assert documents(open_store()) == {"tasks": {"a": {"n": 0}, "b": {}, "d": {}}}


def test_lists_follow_when_changes_are_taken_back(open_store: Open, gate: Callable[[], Gate]) -> None:
    store = open_store()
    store.submit(put("a", status="WAITING", createdAt="2026-01-01T00:00:00Z")).result()
    waiting = store.page("tasks", filters={"status": "WAITING"}, limit=9)
    shut = gate()
    future = store.submit(put("a", status="DONE", createdAt="2026-01-01T00:00:00Z"))
    assert store.page("tasks", filters={"status": "DONE"}, limit=9).total == 1
    assert store.page("tasks", filters={"status": "WAITING"}, limit=9).total == 0
    shut.open(OSError(errno.EIO, "Input/output error"))
    with pytest.raises(StorageError):
        future.result(10)
    assert store.page("tasks", filters={"status": "DONE"}, limit=9).total == 0
    assert store.page("tasks", filters={"status": "WAITING"}, limit=9) == waiting


def test_nothing_is_taken_back_while_the_store_is_held_steady(open_store: Open, gate: Callable[[], Gate]) -> None:
    store = open_store()
    shut = gate()
    first = store.submit(put("a", n=1))
    assert shut.reached.wait(10)
    with store.snapshot_lock():
        shut.open(OSError(errno.EIO, "Input/output error"))
        assert store.get("tasks", "a") == {"n": 1}
        second = store.submit(put("b", seen=store.get("tasks", "a")))
        assert not first.done()
    # What was decided on the failed change fails with it.
    for future in (first, second):
        with pytest.raises(StorageError):
            future.result(10)
    assert documents(store) == {}


def test_a_future_cannot_be_cancelled(open_store: Open, gate: Callable[[], Gate]) -> None:
    store = open_store()
    shut = gate()
    future = store.submit(put("a"))
    assert not future.cancel()
    shut.open()
    future.result(10)


def test_closing_commits_what_waits_and_then_takes_no_more(open_store: Open) -> None:
    store = open_store()
    futures = [store.submit(put(str(n))) for n in range(20)]
    store.close()
    assert all(future.done() for future in futures)
    with pytest.raises(StorageError, match="closed"):
        store.submit(put("late"))
    with pytest.raises(StorageError, match="closed"):
        store.compact(0)
    assert open_store(write=False).count("tasks") == 20


@pytest.mark.parametrize(
    "document", [{"x": object()}, {"x": "\ud800"}, {1: {2: object()}}], ids=["object", "surrogate", "nested"]
)
def test_what_is_no_json_is_refused_and_changes_nothing(open_store: Open, document: dict[str, Any]) -> None:
    store = open_store()
    with pytest.raises(InvalidInputError, match="cannot be stored"):
        store.submit(WriteBatch(puts=(("tasks", "good", {}), ("tasks", "bad", document))))
    assert documents(store) == {}


def test_an_audit_entry_without_a_number_is_refused(open_store: Open) -> None:
    with pytest.raises(InvalidInputError):
        open_store().submit(WriteBatch(audit=({"what": "?"},)))


def test_a_reader_cannot_submit(open_store: Open) -> None:
    open_store()
    reader: TinyDocumentStore = open_store(write=False)
    with pytest.raises(StorageError, match="read-only"):
        reader.submit(WriteBatch())
    with pytest.raises(StorageError, match="read-only"):
        reader.compact(0)
