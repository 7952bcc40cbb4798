"""Compaction: at every step, either generation is whole, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sealyard.model.errors import StorageError
from sealyard.storage import group_commit as committer
from sealyard.storage import pending_log as outbox
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.journal import Journal, Position, Tables
from tests.support.store_helpers import FailingDisk, Open, documents

STEPS = range(1, 20)


class PowerCutError(Exception):
    """Nothing after it happens."""


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """While the snapshot is written another unit is committed; named here once that was acknowledged."""
    names: list[str] = []
    write_snapshot = Journal.write_snapshot

    def and_commit(journal: Journal, at: Position, tables: Tables) -> None:
        write_snapshot(journal, at, tables)
        journal.append([b'{"puts":[["tasks","meanwhile",{}]],"audit":[{"seq":9}]}'])
        names.append("meanwhile")

    monkeypatch.setattr(Journal, "write_snapshot", and_commit)
    return names


def filled(store: TinyDocumentStore) -> TinyDocumentStore:
    store.submit(
        WriteBatch(puts=(("tasks", "a", {"n": 1}), ("tasks", "b", {})), audit=({"seq": 1}, {"seq": 2}))
    ).result()
    store.submit(
        WriteBatch(
            puts=(("tasks", "a", {"n": 2}),), deletes=(("tasks", "b"),), audit=({"seq": 3},), events=({"cursor": 7},)
        )
    ).result()
    return store


def seqs(store: TinyDocumentStore) -> list[Any]:
    return [entry["seq"] for entry in store.pending_audit()]


def test_a_compacted_store_has_the_same_documents_and_only_what_has_not_moved(folder: Path, open_store: Open) -> None:
    store = filled(open_store())
    store.compact(audit_moved_to=2)
    for each in (store, open_store(write=False)):
        assert documents(each) == {"tasks": {"a": {"n": 2}}}
        assert seqs(each) == [3]
        assert each.recent_events() == [{"cursor": 7}]
    assert sorted(path.name for path in folder.iterdir()) == ["journal-2.log", "snapshot-2.log"]
    store.submit(WriteBatch(puts=(("tasks", "c", {}),))).result()
    store.compact(audit_moved_to=3)
    store.close()
    again = open_store()
    assert documents(again) == {"tasks": {"a": {"n": 2}, "c": {}}}
    assert seqs(again) == []


@pytest.mark.usefixtures("acknowledged")
def test_what_is_committed_during_a_compaction_is_carried_into_the_new_generation(open_store: Open) -> None:
    store = filled(open_store())
    store.compact(audit_moved_to=2)
    store.submit(WriteBatch(puts=(("tasks", "after", {}),))).result()
    store.close()
    again = open_store()
    assert documents(again) == {"tasks": {"a": {"n": 2}, "meanwhile": {}, "after": {}}}
    assert seqs(again) == [3, 9]


@pytest.mark.parametrize("step", STEPS)
def test_power_lost_at_any_step_leaves_one_whole_generation(
    open_store: Open, failing_disk: FailingDisk, acknowledged: list[str], step: int
) -> None:
    store = filled(open_store())
    failing_disk.error = PowerCutError
    failing_disk.fail_from(step)
    with suppress(PowerCutError):
        store.compact(audit_moved_to=2)
    failing_disk.recover()

    again = open_store()
    found = documents(again)
    assert found["tasks"].pop("a") == {"n": 2}
    assert set(acknowledged) <= set(found["tasks"]) <= {"meanwhile"}
    assert 3 in seqs(again)
    again.submit(WriteBatch(puts=(("tasks", "after", {}),))).result()
    again.close()
    assert set(documents(open_store())["tasks"]) == {"a", *found["tasks"], "after"}


@pytest.mark.parametrize("step", STEPS)
def test_a_disk_that_refuses_any_one_step_costs_nothing(
    folder: Path, open_store: Open, failing_disk: FailingDisk, step: int
) -> None:
    store = filled(open_store())
    failing_disk.error = lambda: OSError(errno.EIO, "Input/output error")
    failing_disk.fail_from(step, times=1)
    try:
        store.compact(audit_moved_to=2)
    except StorageError:
        assert seqs(store) in ([1, 2, 3], [3])
    failing_disk.recover()
    store.submit(WriteBatch(puts=(("tasks", "after", {}),), audit=({"seq": 4},))).result()
    assert documents(store) == {"tasks": {"a": {"n": 2}, "after": {}}}
    store.close()
    again = open_store()
    assert documents(again) == {"tasks": {"a": {"n": 2}, "after": {}}}
    assert seqs(again)[-2:] == [3, 4]
    again.compact(audit_moved_to=4)
    again.close()
    assert len(list(folder.iterdir())) == 2
    assert documents(open_store()) == {"tasks": {"a": {"n": 2}, "after": {}}}


def test_the_steps_tried_are_all_there_are(open_store: Open, failing_disk: FailingDisk) -> None:
    store = filled(open_store())
    before = len(failing_disk.done)
    store.compact(audit_moved_to=2)
    assert 8 < len(failing_disk.done) - before < max(STEPS)


def test_what_still_waits_for_the_disk_is_not_in_the_snapshot(
    folder: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that is only in memory, and then fails, must not come back through a compaction."""
    store = filled(open_store())
    monkeypatch.setattr(committer.GroupCommitter, "_run", lambda self: None)
    still = TinyDocumentStore.open(folder, {}, write=True)
    still.submit(WriteBatch(puts=(("tasks", "a", {"n": 3}), ("tasks", "waiting", {}))))
    still.compact(audit_moved_to=0)
    assert documents(open_store(write=False)) == documents(store)
    assert still.count("tasks") == 2


def test_a_large_journal_wants_compaction_and_a_compacted_one_does_not(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "MIN_COMPACTION_SIZE", 2000)
    store = open_store()
    assert not store.needs_compaction
    for n in range(40):
        store.submit(WriteBatch(puts=(("tasks", "a", {"text": "x" * 50, "n": n}),))).result()
    assert store.needs_compaction
    store.compact(0)
    assert not store.needs_compaction


def test_events_are_kept_up_to_a_bound(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_EVENTS", 5)
    store = open_store()
    store.submit(WriteBatch(events=tuple({"cursor": n} for n in range(8)))).result()
    assert [event["cursor"] for event in store.recent_events()] == [3, 4, 5, 6, 7]
    store.compact(0)
    store.close()
    assert [event["cursor"] for event in open_store().recent_events()] == [3, 4, 5, 6, 7]
