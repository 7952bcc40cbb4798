"""Tests of group commit: batches are visible immediately, and committed or rolled back together."""

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
from tests.support.limits import TIMEOUT
from tests.support.store_helpers import OpenStore, read_documents


class Gate:
    """Blocks the writes of the journal until it is opened; then they succeed or fail."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.error: OSError | None = None

    def open(self, error: OSError | None = None) -> None:
        self.error = error
        self.opened.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, open_store: OpenStore) -> Iterator[Callable[[], Gate]]:
    gates: list[Gate] = []
    write_all = atomic.write_all

    def close_gate() -> Gate:
        gates.append(Gate())
        return gates[-1]

    def write_after_gate(fd: int, data: bytes) -> None:
        if gates:
            gates[-1].reached.set()
            gates[-1].opened.wait(TIMEOUT)
            if gates[-1].error is not None:
                raise gates[-1].error
        write_all(fd, data)

    monkeypatch.setattr(atomic, "write_all", write_after_gate)
    yield close_gate
    for each in gates:
        each.open()


def put_task(name: str, **document: Any) -> WriteBatch:
    return WriteBatch(puts=(("tasks", name, document),))


def test_submit_is_durable_once_future_completes(open_store: OpenStore, gate: Callable[[], Gate]) -> None:
    store = open_store()
    closed_gate = gate()
    future = store.submit(put_task("a", n=1))
    assert closed_gate.reached.wait(TIMEOUT)
    assert store.get("tasks", "a") == {"n": 1}
    assert read_documents(open_store(write=False)) == {}
    assert not future.done()
    closed_gate.open()
    assert future.result(10) is None
    assert read_documents(open_store(write=False)) == {"tasks": {"a": {"n": 1}}}


def test_pending_batches_share_one_write(folder: Path, open_store: OpenStore, gate: Callable[[], Gate]) -> None:
    store = open_store()
    closed_gate = gate()
    completed: list[int] = []
    first = store.submit(put_task("first"))
    assert closed_gate.reached.wait(TIMEOUT)
    futures = [store.submit(put_task(str(n))) for n in range(50)]
    for n, future in enumerate(futures):
        future.add_done_callback(lambda _future, n=n: completed.append(n))  # type: ignore[misc]
    closed_gate.open()
    for future in (first, *futures):
        future.result(10)
    store.close()
    assert completed == list(range(50))
    lines = (folder / "journal-1.log").read_bytes().splitlines()
    assert len(lines) == 3  # the header, the first batch, all others


def test_failed_write_rolls_back_pending_batches(open_store: OpenStore, gate: Callable[[], Gate]) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=(("tasks", "a", {"n": 0}), ("tasks", "b", {})), audit=({"seq": 1},))).result()
    before = read_documents(store)
    closed_gate = gate()
    failed = [store.submit(put_task("a", n=1))]
    assert closed_gate.reached.wait(TIMEOUT)
    failed.append(store.submit(WriteBatch(puts=(("tasks", "a", {"n": 2}),), deletes=(("tasks", "b"),))))
    failed.append(store.submit(WriteBatch(puts=(("other", "c", {}),), audit=({"seq": 2},), events=({"cursor": 1},))))
    closed_gate.open(OSError(errno.EIO, "Input/output error"))
    for future in failed:
        with pytest.raises(StorageError, match="Disk error while writing the change"):
            future.result(10)
    assert read_documents(store) == before
    assert store.pending_audit() == [{"seq": 1}]
    assert store.recent_events() == []

    closed_gate.error = None
    store.submit(put_task("d")).result(10)
    store.close()
    assert read_documents(open_store()) == {"tasks": {"a": {"n": 0}, "b": {}, "d": {}}}


def test_rollback_restores_pages(open_store: OpenStore, gate: Callable[[], Gate]) -> None:
    store = open_store()
    store.submit(put_task("a", status="WAITING", createdAt="2026-01-01T00:00:00Z")).result()
    waiting = store.page("tasks", filters={"status": "WAITING"}, limit=9)
    closed_gate = gate()
    future = store.submit(put_task("a", status="DONE", createdAt="2026-01-01T00:00:00Z"))
    assert store.page("tasks", filters={"status": "DONE"}, limit=9).total == 1
    assert store.page("tasks", filters={"status": "WAITING"}, limit=9).total == 0
    closed_gate.open(OSError(errno.EIO, "Input/output error"))
    with pytest.raises(StorageError):
        future.result(10)
    assert store.page("tasks", filters={"status": "DONE"}, limit=9).total == 0
    assert store.page("tasks", filters={"status": "WAITING"}, limit=9) == waiting


def test_snapshot_lock_delays_rollback(open_store: OpenStore, gate: Callable[[], Gate]) -> None:
    store = open_store()
    closed_gate = gate()
    first = store.submit(put_task("a", n=1))
    assert closed_gate.reached.wait(TIMEOUT)
    with store.snapshot_lock():
        closed_gate.open(OSError(errno.EIO, "Input/output error"))
        assert store.get("tasks", "a") == {"n": 1}
        second = store.submit(put_task("b", seen=store.get("tasks", "a")))
        assert not first.done()
    # The second batch was derived from the failed one, so it fails too.
    for future in (first, second):
        with pytest.raises(StorageError):
            future.result(10)
    assert read_documents(store) == {}


def test_submitted_future_cannot_be_cancelled(open_store: OpenStore, gate: Callable[[], Gate]) -> None:
    store = open_store()
    closed_gate = gate()
    future = store.submit(put_task("a"))
    assert not future.cancel()
    closed_gate.open()
    future.result(10)


def test_close_commits_pending_batches(open_store: OpenStore) -> None:
    store = open_store()
    futures = [store.submit(put_task(str(n))) for n in range(20)]
    store.close()
    assert all(future.done() for future in futures)
    with pytest.raises(StorageError, match="closed"):
        store.submit(put_task("late"))
    with pytest.raises(StorageError, match="closed"):
        store.compact(0)
    assert open_store(write=False).count("tasks") == 20


@pytest.mark.parametrize(
    "document", [{"x": object()}, {"x": "\ud800"}, {1: {2: object()}}], ids=["object", "surrogate", "nested"]
)
def test_submit_invalid_json_changes_nothing(open_store: OpenStore, document: dict[str, Any]) -> None:
    store = open_store()
    with pytest.raises(InvalidInputError, match="cannot be stored"):
        store.submit(WriteBatch(puts=(("tasks", "good", {}), ("tasks", "bad", document))))
    assert read_documents(store) == {}


def test_audit_entry_without_seq_is_rejected(open_store: OpenStore) -> None:
    with pytest.raises(InvalidInputError):
        open_store().submit(WriteBatch(audit=({"what": "?"},)))


def test_submit_on_reader_is_rejected(open_store: OpenStore) -> None:
    open_store()
    reader: TinyDocumentStore = open_store(write=False)
    with pytest.raises(StorageError, match="read-only"):
        reader.submit(WriteBatch())
    with pytest.raises(StorageError, match="read-only"):
        reader.compact(0)


def test_failed_and_successful_commits_are_timed(open_store: OpenStore, gate: Callable[[], Gate]) -> None:
    store = open_store()
    store.submit(put_task("a", n=1)).result(TIMEOUT)
    assert sum(store.commit_times.counts) == 1
    closed = gate()
    future = store.submit(put_task("b", n=1))
    closed.open(OSError(errno.ENOSPC, "full"))
    with pytest.raises(StorageError):
        future.result(TIMEOUT)
    store.close()
    assert sum(store.commit_times.counts) == 2
    assert store.commit_times.seconds > 0
