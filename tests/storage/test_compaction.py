"""Tests of compaction, with a failure at every step: one generation stays complete, no committed batch is lost."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.model.errors import StorageError
from sealyard.storage import group_commit, journal, pending_log
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.generation import Position
from sealyard.storage.journal import FileJournal
from sealyard.storage.journal_protocol import Tables
from tests.support.legacy_store import write_legacy_store
from tests.support.store_helpers import FailingDisk, OpenStore, open_test_store, read_documents

STEPS = range(1, 20)


class PowerCutError(Exception):
    """Simulated power loss: no later disk operation takes effect."""


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commit another batch while the snapshot is written; its name is added once the commit is acknowledged."""
    names: list[str] = []
    write_snapshot = FileJournal.write_snapshot

    def write_and_commit(writer: FileJournal, at: Position, tables: Tables) -> None:
        write_snapshot(writer, at, tables)
        batch = EncodedBatch(puts=[("tasks", "meanwhile", msgspec.Raw(b"{}"))], audit=[msgspec.Raw(b'{"seq":9}')])
        writer.append([batch])
        names.append("meanwhile")

    monkeypatch.setattr(FileJournal, "write_snapshot", write_and_commit)
    return names


def fill(store: TinyDocumentStore) -> TinyDocumentStore:
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


def test_compact_keeps_documents_and_unmoved_audit(folder: Path, open_store: OpenStore) -> None:
    store = fill(open_store())
    store.compact(audit_moved_to=2)
    for each in (store, open_store(write=False)):
        assert read_documents(each) == {"tasks": {"a": {"n": 2}}}
        assert seqs(each) == [3]
        assert each.recent_events() == [{"cursor": 7}]
    assert sorted(path.name for path in folder.iterdir()) == ["journal-2.log", "snapshot-2.log"]
    store.submit(WriteBatch(puts=(("tasks", "c", {}),))).result()
    store.compact(audit_moved_to=3)
    store.close()
    reopened = open_store()
    assert read_documents(reopened) == {"tasks": {"a": {"n": 2}, "c": {}}}
    assert seqs(reopened) == []


@pytest.mark.usefixtures("acknowledged")
def test_commit_during_compaction_is_kept(open_store: OpenStore) -> None:
    store = fill(open_store())
    store.compact(audit_moved_to=2)
    store.submit(WriteBatch(puts=(("tasks", "after", {}),))).result()
    store.close()
    reopened = open_store()
    assert read_documents(reopened) == {"tasks": {"a": {"n": 2}, "meanwhile": {}, "after": {}}}
    assert seqs(reopened) == [3, 9]


@pytest.mark.parametrize("step", STEPS)
def test_power_loss_at_any_step_keeps_data(
    open_store: OpenStore, failing_disk: FailingDisk, acknowledged: list[str], step: int
) -> None:
    store = fill(open_store())
    recorded = store.generation
    failing_disk.error = PowerCutError
    failing_disk.fail_from(step)
    with suppress(PowerCutError):
        store.compact(audit_moved_to=2)
    failing_disk.recover()
    store.close()

    reopened = open_store(recorded=recorded)
    stored = read_documents(reopened)
    assert stored["tasks"].pop("a") == {"n": 2}
    assert set(acknowledged) <= set(stored["tasks"]) <= {"meanwhile"}
    assert 3 in seqs(reopened)
    reopened.submit(WriteBatch(puts=(("tasks", "after", {}),))).result()
    recorded = reopened.generation
    reopened.close()
    assert set(read_documents(open_store(recorded=recorded))["tasks"]) == {"a", *stored["tasks"], "after"}


@pytest.mark.parametrize("step", STEPS)
def test_power_loss_at_any_step_of_migration_keeps_data(
    folder: Path, open_store: OpenStore, failing_disk: FailingDisk, step: int
) -> None:
    fill(open_store()).close()
    write_legacy_store(folder)
    failing_disk.error = PowerCutError
    failing_disk.fail_from(step)
    with suppress(PowerCutError):
        open_store().close()
    failing_disk.recover()
    reopened = open_store()
    assert read_documents(reopened) == {"tasks": {"a": {"n": 2}}}
    assert seqs(reopened) == [1, 2, 3]
    recorded = reopened.generation
    reopened.close()
    assert not open_store(recorded=recorded).was_migrated


@pytest.mark.parametrize("step", STEPS)
def test_power_loss_at_any_step_of_creation_is_repaired(
    open_store: OpenStore, failing_disk: FailingDisk, step: int
) -> None:
    failing_disk.error = PowerCutError
    failing_disk.fail_from(step)
    with suppress(PowerCutError):
        open_store().close()
    failing_disk.recover()
    fill(open_store()).close()


@pytest.mark.parametrize("step", STEPS)
def test_disk_error_at_any_step_keeps_data(
    folder: Path, open_store: OpenStore, failing_disk: FailingDisk, step: int
) -> None:
    store = fill(open_store())
    failing_disk.error = lambda: OSError(errno.EIO, "Input/output error")
    failing_disk.fail_from(step, times=1)
    recorded = store.generation
    try:
        store.compact(audit_moved_to=2)
    except StorageError:
        assert seqs(store) in ([1, 2, 3], [3])
    failing_disk.recover()
    store.submit(WriteBatch(puts=(("tasks", "after", {}),), audit=({"seq": 4},))).result()
    assert read_documents(store) == {"tasks": {"a": {"n": 2}, "after": {}}}
    store.close()
    reopened = open_store(recorded=recorded)
    assert read_documents(reopened) == {"tasks": {"a": {"n": 2}, "after": {}}}
    assert seqs(reopened)[-2:] == [3, 4]
    reopened.compact(audit_moved_to=4)
    reopened.close()
    assert len(list(folder.iterdir())) == 2
    assert read_documents(open_store()) == {"tasks": {"a": {"n": 2}, "after": {}}}


def test_steps_cover_the_whole_compaction(open_store: OpenStore, failing_disk: FailingDisk) -> None:
    store = fill(open_store())
    before = len(failing_disk.operations)
    store.compact(audit_moved_to=2)
    assert 8 < len(failing_disk.operations) - before < max(STEPS)


def test_snapshot_excludes_uncommitted_batches(
    folder: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is only in memory can still fail, so a compaction must not store it."""
    store = fill(open_store())
    store.close()
    monkeypatch.setattr(group_commit.GroupCommitter, "_run", lambda self: None)
    stalled = open_test_store(folder)
    stalled.submit(WriteBatch(puts=(("tasks", "a", {"n": 3}), ("tasks", "waiting", {}))))
    stalled.compact(audit_moved_to=0)
    assert read_documents(open_store(write=False)) == read_documents(store)
    assert stalled.count("tasks") == 2


def test_needs_compaction_follows_journal_size(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MIN_COMPACTION_SIZE", 2000)
    store = open_store()
    assert not store.needs_compaction
    for n in range(40):
        store.submit(WriteBatch(puts=(("tasks", "a", {"text": "x" * 50, "n": n}),))).result()
    assert store.needs_compaction
    store.compact(0)
    assert not store.needs_compaction


def test_recent_events_are_limited(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_log, "MAX_EVENTS", 5)
    store = open_store()
    store.submit(WriteBatch(events=tuple({"cursor": n} for n in range(8)))).result()
    assert [event["cursor"] for event in store.recent_events()] == [3, 4, 5, 6, 7]
    store.compact(0)
    store.close()
    assert [event["cursor"] for event in open_store().recent_events()] == [3, 4, 5, 6, 7]
