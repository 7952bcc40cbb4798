"""Generations on the disk: whatever tore, flipped or refused, what was acknowledged is there or is missed."""

from __future__ import annotations

import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.model.errors import StorageError, StoreCorruptedError, WorkspaceError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.frame_format import Frame, encode_frame
from tests.support.store_helpers import FailingDisk, Open, contents, documents

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
content = st.dictionaries(names, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9))
places = st.tuples(st.sampled_from(["tasks", "acl"]), st.sampled_from("abcdef"))
units = st.builds(
    WriteBatch,
    puts=st.lists(st.tuples(places, content), max_size=3).map(
        lambda found: tuple((*place, document) for place, document in found)
    ),
    deletes=st.lists(places, max_size=2).map(tuple),
    audit=st.lists(st.integers(0, 99).map(lambda seq: {"seq": seq}), max_size=2).map(tuple),
)


def commit_all(folder: Path, work: list[WriteBatch]) -> list[tuple[Any, Any]]:
    """Documents and audit entries after none, one, two, … of the units."""
    store = TinyDocumentStore.open(folder, {}, write=True)
    states = [(documents(store), store.pending_audit())]
    for unit in work:
        store.submit(unit).result()
        states.append((documents(store), store.pending_audit()))
    store.close()
    return states


def state(folder: Path) -> tuple[Any, Any]:
    store = TinyDocumentStore.open(folder, {}, write=True)
    try:
        return documents(store), store.pending_audit()
    finally:
        store.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(work=st.lists(units, max_size=6), data=st.data())
def test_a_journal_cut_anywhere_reopens_as_a_prefix_of_what_was_committed(
    tmp_path_factory: pytest.TempPathFactory, work: list[WriteBatch], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    states = commit_all(folder, work)
    journal = folder / "journal-1.log"
    whole = journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    cut = data.draw(st.integers(ends[0], len(whole)))
    journal.write_bytes(whole[:cut])
    kept = sum(1 for end in ends if end <= cut)

    assert state(folder) == states[kept - 1]
    torn = b"".join(path.read_bytes() for path in folder.glob("torn-*.bin"))
    assert journal.read_bytes() + torn == whole[:cut]
    assert state(folder) == states[kept - 1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(work=st.lists(units, min_size=1, max_size=6), data=st.data())
def test_a_flipped_byte_is_reported_with_nothing_changed_or_tears_the_last_frame_only(
    tmp_path_factory: pytest.TempPathFactory, work: list[WriteBatch], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    states = commit_all(folder, work)
    journal = folder / "journal-1.log"
    whole = journal.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    journal.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    before = contents(folder)
    last = whole[:-1].rfind(b"\n") + 1

    if at < last:
        with pytest.raises(StoreCorruptedError, match=r"journal-1\.log at byte \d+"):
            state(folder)
        assert contents(folder) == before
    else:
        assert state(folder) == states[-2]


@pytest.mark.parametrize("at", [0, 5, 40, 150, -1])
def test_a_flipped_byte_in_a_snapshot_is_reported_with_nothing_changed(folder: Path, open_store: Open, at: int) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=tuple(("tasks", str(n), {"n": n}) for n in range(5)))).result()
    store.compact(0)
    store.close()
    snapshot = folder / "snapshot-2.log"
    damaged = bytearray(snapshot.read_bytes())
    damaged[at] ^= 1
    snapshot.write_bytes(damaged)
    before = contents(folder)
    with pytest.raises(StoreCorruptedError, match=r"snapshot-2\.log at byte"):
        open_store()
    assert contents(folder) == before


def test_a_snapshot_that_lost_its_end_is_reported(folder: Path, open_store: Open) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=tuple(("tasks", str(n), {"n": n}) for n in range(5)))).result()
    store.compact(0)
    store.close()
    snapshot = folder / "snapshot-2.log"
    snapshot.write_bytes(b"".join(snapshot.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(StoreCorruptedError, match="5 documents expected, 4 found"):
        open_store()


def test_torn_bytes_are_kept_aside_and_named(folder: Path, open_store: Open) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=(("tasks", "a", {}),))).result()
    assert store.torn is None
    store.close()
    with (folder / "journal-1.log").open("ab") as file:
        file.write(b'12345678 {"seq":2,"uni')
    again = open_store()
    assert again.torn is not None
    assert again.torn.parent == folder
    assert again.torn.read_bytes() == b'12345678 {"seq":2,"uni'
    again.submit(WriteBatch(puts=(("tasks", "b", {}),))).result()
    again.close()
    assert documents(open_store()) == {"tasks": {"a": {}, "b": {}}}


def test_a_journal_without_its_first_frame_is_damaged(folder: Path, open_store: Open) -> None:
    open_store().close()
    (folder / "journal-1.log").write_bytes(b"")
    with pytest.raises(StoreCorruptedError, match=r"journal-1\.log at byte 0"):
        open_store()


def test_a_newer_format_is_refused_and_not_called_damage(folder: Path, open_store: Open) -> None:
    open_store().close()
    (folder / "snapshot-1.log").write_bytes(encode_frame(Frame(0, format=2, generation=1)))
    with pytest.raises(WorkspaceError, match="format 2"):
        open_store()


def test_a_folder_without_a_store_is_no_store_for_a_reader(folder: Path, open_store: Open) -> None:
    with pytest.raises(WorkspaceError, match="No store"):
        open_store(write=False)
    assert not folder.exists()


def test_the_store_is_for_its_owner_alone(folder: Path, open_store: Open) -> None:
    open_store().compact(0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("operation", ["write_all", "sync"])
def test_a_refused_write_leaves_the_last_good_state_and_a_usable_store(
    folder: Path, open_store: Open, failing_disk: FailingDisk, operation: str
) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=(("tasks", "a", {"n": 1}),))).result()
    before = contents(folder)
    failing_disk.fail(operation)
    with pytest.raises(StorageError, match="Not enough disk space for writing the change"):
        store.submit(WriteBatch(puts=(("tasks", "a", {"n": 2}), ("tasks", "b", {})))).result()
    assert documents(store) == {"tasks": {"a": {"n": 1}}}
    assert contents(folder) == before
    store.submit(WriteBatch(puts=(("tasks", "c", {}),))).result()
    store.close()
    assert documents(open_store()) == {"tasks": {"a": {"n": 1}, "c": {}}}


def test_partial_bytes_that_cannot_be_cut_at_once_are_cut_before_the_next_commit(
    folder: Path, open_store: Open, failing_disk: FailingDisk
) -> None:
    store = open_store()
    failing_disk.fail("write_all", "truncate", times=3)
    for _ in range(2):
        with pytest.raises(StorageError):
            store.submit(WriteBatch(puts=(("tasks", "lost", {}),))).result()
    store.submit(WriteBatch(puts=(("tasks", "a", {}),))).result()
    store.close()
    assert documents(open_store()) == {"tasks": {"a": {}}}
    assert not list(folder.glob("torn-*"))


def test_a_full_disk_is_survived(folder: Path, open_store: Open) -> None:
    """The kernel itself refuses: a write goes through in part, then fails."""
    store = open_store()
    store.submit(WriteBatch(puts=(("tasks", "a", {}),))).result()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / "journal-1.log").stat().st_size + 1000, hard))
    try:
        with pytest.raises(StorageError):
            store.submit(WriteBatch(puts=(("tasks", "large", {"text": "x" * 5000}),))).result()
        store.submit(WriteBatch(puts=(("tasks", "small", {}),))).result()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert documents(store) == {"tasks": {"a": {}, "small": {}}}
    store.close()
    assert documents(open_store()) == {"tasks": {"a": {}, "small": {}}}
