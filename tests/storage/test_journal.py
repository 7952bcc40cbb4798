"""Tests of journal and snapshot files: torn, corrupted and failed writes are repaired or reported."""

from __future__ import annotations

import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.model.errors import StorageError, StoreCorruptedError, WorkspaceError
from sealyard.storage.documents import WriteBatch
from sealyard.storage.frame_format import Frame, encode_frame
from tests.support.store_helpers import (
    FailingDisk,
    OpenStore,
    begin_chain,
    open_test_store,
    read_documents,
    read_files,
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
content = st.dictionaries(names, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9))
keys = st.tuples(st.sampled_from(["tasks", "acl"]), st.sampled_from("abcdef"))
batches = st.builds(
    WriteBatch,
    puts=st.lists(st.tuples(keys, content), max_size=3).map(
        lambda pairs: tuple((*key, document) for key, document in pairs)
    ),
    deletes=st.lists(keys, max_size=2).map(tuple),
    audit=st.lists(st.integers(0, 99).map(lambda seq: {"seq": seq}), max_size=2).map(tuple),
)


def commit_all(folder: Path, commits: list[WriteBatch]) -> list[tuple[Any, Any]]:
    """Return the documents and audit entries after zero, one, two, … of the batches."""
    store = open_test_store(folder)
    states = [(read_documents(store), store.pending_audit())]
    for batch in commits:
        store.submit(batch).result()
        states.append((read_documents(store), store.pending_audit()))
    store.close()
    return states


def reopen(folder: Path) -> tuple[Any, Any]:
    store = open_test_store(folder)
    try:
        return read_documents(store), store.pending_audit()
    finally:
        store.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=st.lists(batches, max_size=6), data=st.data())
def test_truncated_journal_reopens_as_prefix(
    tmp_path_factory: pytest.TempPathFactory, commits: list[WriteBatch], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    states = commit_all(folder, commits)
    journal = folder / "journal-1.log"
    journal_bytes = journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(journal_bytes) if byte == ord("\n")]
    cut = data.draw(st.integers(ends[0], len(journal_bytes)))
    journal.write_bytes(journal_bytes[:cut])
    frame_count = sum(1 for end in ends if end <= cut)

    assert reopen(folder) == states[frame_count - 1]
    torn = b"".join(path.read_bytes() for path in folder.glob("torn-*.bin"))
    assert journal.read_bytes() + torn == journal_bytes[:cut]
    assert reopen(folder) == states[frame_count - 1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=st.lists(batches, min_size=1, max_size=6), data=st.data())
def test_flipped_byte_in_journal_is_detected(
    tmp_path_factory: pytest.TempPathFactory, commits: list[WriteBatch], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    commit_all(folder, commits)
    journal = folder / "journal-1.log"
    journal_bytes = journal.read_bytes()
    at = data.draw(st.integers(0, len(journal_bytes) - 1))
    flipped_byte = journal_bytes[at] ^ data.draw(st.integers(1, 255))
    journal.write_bytes(journal_bytes[:at] + bytes([flipped_byte]) + journal_bytes[at + 1 :])
    before = read_files(folder)
    with pytest.raises(StoreCorruptedError, match=r"journal-1\.log at byte \d+"):
        reopen(folder)
    assert read_files(folder) == before


def zero_last_frame(folder: Path, zeros: slice) -> list[tuple[Any, Any]]:
    """Commit two batches, and write zeros over bytes of the last frame; return the states before."""
    documents: tuple[dict[str, str], ...] = ({}, {"text": "x" * 3000})
    states = commit_all(folder, [WriteBatch(puts=(("tasks", str(n), each),)) for n, each in enumerate(documents)])
    journal = folder / "journal-1.log"
    content = bytearray(journal.read_bytes())
    content[zeros] = bytes(len(content[zeros]))
    journal.write_bytes(content)
    return states


@pytest.mark.parametrize("zeros", [slice(1024, 1536), slice(1024, 2560), slice(-40, None), slice(1536, None)])
def test_zeros_in_last_frame_are_a_torn_write(folder: Path, zeros: slice) -> None:
    """After a power loss, a file can have its new length with blocks that were never written."""
    states = zero_last_frame(folder, zeros)
    assert reopen(folder) == states[-2]


@pytest.mark.parametrize("zeros", [slice(1030, 1031), slice(1024, 1535), slice(1030, 1536), slice(-1, None)])
def test_zeros_that_no_disk_leaves_are_damage(folder: Path, zeros: slice) -> None:
    zero_last_frame(folder, zeros)
    with pytest.raises(StoreCorruptedError, match="checksum of the last frame"):
        reopen(folder)


@pytest.mark.parametrize("at", [0, 5, 40, 150, -1])
def test_flipped_byte_in_snapshot_is_reported(folder: Path, open_store: OpenStore, at: int) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=tuple(("tasks", str(n), {"n": n}) for n in range(5)))).result()
    store.compact(0)
    store.close()
    snapshot = folder / "snapshot-2.log"
    snapshot_bytes = bytearray(snapshot.read_bytes())
    snapshot_bytes[at] ^= 1
    snapshot.write_bytes(snapshot_bytes)
    before = read_files(folder)
    with pytest.raises(StoreCorruptedError, match=r"snapshot-2\.log at byte"):
        open_store()
    assert read_files(folder) == before


def test_truncated_snapshot_is_reported(folder: Path, open_store: OpenStore) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=tuple(("tasks", str(n), {"n": n}) for n in range(5)))).result()
    store.compact(0)
    store.close()
    snapshot = folder / "snapshot-2.log"
    snapshot.write_bytes(b"".join(snapshot.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(StoreCorruptedError, match="5 documents expected, 0 found"):
        open_store()


def test_torn_bytes_are_moved_to_file(folder: Path, open_store: OpenStore) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=(("tasks", "a", {}),))).result()
    assert store.torn is None
    store.close()
    with (folder / "journal-1.log").open("ab") as file:
        file.write(b'12345678 {"seq":2,"uni')
    reopened = open_store()
    assert reopened.torn is not None
    assert reopened.torn.parent == folder
    assert reopened.torn.read_bytes() == b'12345678 {"seq":2,"uni'
    reopened.submit(WriteBatch(puts=(("tasks", "b", {}),))).result()
    reopened.close()
    assert read_documents(open_store()) == {"tasks": {"a": {}, "b": {}}}


def test_journal_without_first_frame_is_reported(folder: Path, open_store: OpenStore) -> None:
    open_store().close()
    (folder / "journal-1.log").write_bytes(b"")
    with pytest.raises(StoreCorruptedError, match=r"journal-1\.log at byte 0"):
        open_store()


def test_newer_format_is_rejected(folder: Path, open_store: OpenStore) -> None:
    open_store().close()
    (folder / "snapshot-1.log").write_bytes(encode_frame(Frame(0, format=3, generation=1), begin_chain()))
    with pytest.raises(WorkspaceError, match="format 3"):
        open_store()


def test_reader_of_missing_store_raises(folder: Path, open_store: OpenStore) -> None:
    with pytest.raises(WorkspaceError, match="No store"):
        open_store(write=False)
    assert not folder.exists()


def test_store_files_are_private(folder: Path, open_store: OpenStore) -> None:
    open_store().compact(0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("operation", ["write_all", "sync"])
def test_failed_write_keeps_previous_state(
    folder: Path, open_store: OpenStore, failing_disk: FailingDisk, operation: str
) -> None:
    store = open_store()
    store.submit(WriteBatch(puts=(("tasks", "a", {"n": 1}),))).result()
    before = read_files(folder)
    failing_disk.fail(operation)
    with pytest.raises(StorageError, match="Not enough disk space for writing the change"):
        store.submit(WriteBatch(puts=(("tasks", "a", {"n": 2}), ("tasks", "b", {})))).result()
    assert read_documents(store) == {"tasks": {"a": {"n": 1}}}
    assert read_files(folder) == before
    store.submit(WriteBatch(puts=(("tasks", "c", {}),))).result()
    store.close()
    assert read_documents(open_store()) == {"tasks": {"a": {"n": 1}, "c": {}}}


def test_partial_write_is_truncated_before_commit(
    folder: Path, open_store: OpenStore, failing_disk: FailingDisk
) -> None:
    store = open_store()
    failing_disk.fail("write_all", "truncate", times=3)
    for _ in range(2):
        with pytest.raises(StorageError):
            store.submit(WriteBatch(puts=(("tasks", "lost", {}),))).result()
    store.submit(WriteBatch(puts=(("tasks", "a", {}),))).result()
    store.close()
    assert read_documents(open_store()) == {"tasks": {"a": {}}}
    assert not list(folder.glob("torn-*"))


def test_store_recovers_from_full_disk(folder: Path, open_store: OpenStore) -> None:
    """Use a file size limit, so that the kernel stores a part of the data before the write fails."""
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
    assert read_documents(store) == {"tasks": {"a": {}, "small": {}}}
    store.close()
    assert read_documents(open_store()) == {"tasks": {"a": {}, "small": {}}}
