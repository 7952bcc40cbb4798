"""Tests of the worker state file: what is refused, and that every change of the file is noticed."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.audit.merkle import consistency_proof, leaf_hash, merkle_root
from sealyard.fs.atomic import sync
from sealyard.keyholder import file_state
from sealyard.keyholder.file_state import FileWorkerState
from sealyard.keyholder.state import Intent, SignedCheckpoint
from sealyard.keyholder.state_queue import StateQueue
from sealyard.keyholder.state_records import DamagedRecordError, IntentRecord, RecordChain, parse_records
from sealyard.keys.master_key import OpenedKeyStore
from sealyard.model.errors import (
    AuditVerificationError,
    ConcurrentWriterError,
    ConflictError,
    SealyardError,
    WorkerStateError,
)
from sealyard.model.key_holder_messages import HolderResponse, RecordIntent, StateEvent
from sealyard.model.workspace import WorkspacePaths
from tests.support.extent import scale_examples
from tests.support.factories.key_stores import MASTER_KEY, make_key_store
from tests.support.limits import TIMEOUT
from tests.support.worker_state import read_records

ONE, OTHER = "11" * 32, "22" * 32
LEAVES = [leaf_hash(bytes([number])) for number in range(40)]


@pytest.fixture
def key_store() -> OpenedKeyStore:
    return make_key_store()


@pytest.fixture
def paths(tmp_path: Path) -> WorkspacePaths:
    return WorkspacePaths(tmp_path)


def record(state: FileWorkerState, task: str, sha256: str = ONE, token: int = 1) -> SealyardError | None:
    return state.record_intents([Intent(task_id=task, fencing_token=token, sha256=sha256)])[0]


def open_state(paths: WorkspacePaths, key_store: OpenedKeyStore) -> FileWorkerState:
    return FileWorkerState.open(paths, "w1", key_store)


def write_state(paths: WorkspacePaths, key_store: OpenedKeyStore) -> bytes:
    """Write a small state, and return its content."""
    state = open_state(paths, key_store)
    for number in range(3):
        assert record(state, f"t{number}") is None
    state.record_checkpoint(SignedCheckpoint(size=3, root=ONE), ())
    state.close()
    return paths.worker_state.read_bytes()


def require_refused(paths: WorkspacePaths, key_store: OpenedKeyStore, match: str) -> None:
    before = paths.worker_state.read_bytes() if paths.worker_state.exists() else b""
    with pytest.raises(WorkerStateError, match=match) as caught:
        open_state(paths, key_store)
    assert caught.value.hint
    assert paths.worker_state.read_bytes() == before


# ---- intents


def test_second_digest_is_refused_after_reopening(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    state = open_state(paths, key_store)
    assert record(state, "t1") is None
    assert isinstance(record(state, "t1", OTHER, 2), ConflictError)
    state.close()
    state = open_state(paths, key_store)
    assert isinstance(record(state, "t1", OTHER, 2), ConflictError)
    assert record(state, "t2", OTHER) is None
    state.close()


@pytest.mark.parametrize("token", [4, 5])
def test_used_or_lower_fencing_token_is_refused(paths: WorkspacePaths, key_store: OpenedKeyStore, token: int) -> None:
    state = open_state(paths, key_store)
    assert record(state, "t1", token=5) is None
    error = record(state, "t1", token=token)
    assert isinstance(error, ConflictError)
    assert "sent again" in error.message
    state.close()


def test_later_attempt_over_same_bytes_is_recorded(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    state = open_state(paths, key_store)
    assert record(state, "t1") is None
    assert record(state, "t1", token=2) is None
    state.close()
    assert [each["fencingToken"] for each in read_records(paths.root) if each["type"] == "intent"] == [1, 2]


def test_conflict_within_one_batch_is_refused(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    state = open_state(paths, key_store)
    intents = [Intent(task_id="t1", fencing_token=1, sha256=ONE), Intent(task_id="t1", fencing_token=2, sha256=OTHER)]
    first, second = state.record_intents(intents)
    assert first is None
    assert isinstance(second, ConflictError)
    state.close()


def test_waiting_intents_share_one_sync(
    paths: WorkspacePaths, key_store: OpenedKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, released, syncs = threading.Event(), threading.Event(), []

    def wait_and_sync(fd: int) -> None:
        started.set()
        released.wait(TIMEOUT)
        syncs.append(fd)
        sync(fd)

    requests = StateQueue(lambda: open_state(paths, key_store))
    requests.open()
    monkeypatch.setattr(file_state, "sync", wait_and_sync)
    replies: queue.SimpleQueue[HolderResponse] = queue.SimpleQueue()
    for number in range(51):
        requests.submit(RecordIntent(request_id=number, task_id=f"t{number}", fencing_token=1, sha256=ONE), replies.put)
        if number == 0:
            started.wait(TIMEOUT)
    released.set()
    assert {replies.get(timeout=TIMEOUT).request_id for _ in range(51)} == set(range(51))
    assert len(syncs) == 2
    requests.close()


# ---- checkpoints


def root_of(size: int) -> str:
    return merkle_root(LEAVES[:size]).hex()


def test_checkpoint_requires_consistency_proof(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    state = open_state(paths, key_store)
    state.record_checkpoint(SignedCheckpoint(size=5, root=root_of(5)), ())
    state.record_checkpoint(SignedCheckpoint(size=9, root=root_of(9)), consistency_proof(LEAVES[:9], 5))
    state.record_checkpoint(SignedCheckpoint(size=9, root=root_of(9)), ())
    refused = [
        (SignedCheckpoint(size=9, root=OTHER), []),
        (SignedCheckpoint(size=5, root=root_of(5)), []),
        (SignedCheckpoint(size=12, root=root_of(12)), []),
        (SignedCheckpoint(size=12, root=OTHER), consistency_proof(LEAVES[:12], 9)),
        (SignedCheckpoint(size=12, root=root_of(12)), consistency_proof(LEAVES[:12], 5)),
        (SignedCheckpoint(size=0, root=root_of(0)), []),
    ]
    for checkpoint, proof in refused:
        with pytest.raises(AuditVerificationError):
            state.record_checkpoint(checkpoint, proof)
    state.close()
    state = open_state(paths, key_store)
    assert (state.info.size, state.info.root) == (9, root_of(9))
    state.close()


# ---- changes of the file


@settings(max_examples=scale_examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    chain = RecordChain(MASTER_KEY)
    records = [IntentRecord(task=f"t{number}", fencing_token=1, sha256=ONE, at=1.5) for number in range(4)]
    content = b"".join(chain.append(each) for each in records)
    position = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedRecordError):
        parse_records(bytes(changed), RecordChain(MASTER_KEY))


def test_each_changed_byte_of_file_is_refused(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    content = write_state(paths, key_store)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        paths.worker_state.write_bytes(changed)
        require_refused(paths, key_store, "not the one that was written")


def test_torn_last_record_is_cut(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    content = write_state(paths, key_store)
    last_line = content.splitlines(keepends=True)[-1]
    for length in range(len(content) - len(last_line) + 1, len(content) - 1, 25):
        paths.worker_state.write_bytes(content[:length])
        state = open_state(paths, key_store)
        assert state.info.size == 0
        assert record(state, "t9") is None
        state.close()
        open_state(paths, key_store).close()
        paths.worker_state.write_bytes(content)


def test_complete_record_without_line_feed_is_kept(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    content = write_state(paths, key_store)
    paths.worker_state.write_bytes(content[:-1])
    state = open_state(paths, key_store)
    assert state.info.size == 3
    state.close()
    assert paths.worker_state.read_bytes() == content


@pytest.mark.parametrize("number", range(4))
def test_missing_record_is_refused(paths: WorkspacePaths, key_store: OpenedKeyStore, number: int) -> None:
    lines = write_state(paths, key_store).splitlines(keepends=True)
    paths.worker_state.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
    require_refused(paths, key_store, "damaged or was changed")


def test_swapped_records_are_refused(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    lines = write_state(paths, key_store).splitlines(keepends=True)
    paths.worker_state.write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    require_refused(paths, key_store, "damaged or was changed")


@pytest.mark.parametrize("content", [None, b""])
def test_deleted_state_is_refused(paths: WorkspacePaths, key_store: OpenedKeyStore, content: bytes | None) -> None:
    write_state(paths, key_store)
    paths.worker_state.unlink()
    if content is not None:
        paths.worker_state.write_bytes(content)
    with pytest.raises(WorkerStateError, match="missing or empty"):
        open_state(paths, key_store)
    with pytest.raises(WorkerStateError, match="missing or empty"):
        open_state(paths, key_store)


def test_state_of_other_key_store_is_refused(paths: WorkspacePaths, key_store: OpenedKeyStore, tmp_path: Path) -> None:
    write_state(paths, key_store)
    require_refused(paths, make_key_store(bytes(32)), "Record 1")
    other = WorkspacePaths(tmp_path / "other")
    other_key_store = make_key_store()
    content = write_state(other, other_key_store)
    paths.worker_state.write_bytes(content)
    require_refused(paths, key_store, "does not belong")


@pytest.mark.parametrize("replace", [True, False])
def test_state_changed_while_open_stops_signing(
    paths: WorkspacePaths, key_store: OpenedKeyStore, tmp_path: Path, replace: bool
) -> None:
    state = open_state(paths, key_store)
    assert record(state, "t1") is None
    if replace:
        (tmp_path / "copy").write_bytes(paths.worker_state.read_bytes())
        (tmp_path / "copy").replace(paths.worker_state)
    else:
        paths.worker_state.write_bytes(b"")
    with pytest.raises(ConcurrentWriterError):
        record(state, "t2")
    state.close()


def test_second_key_holder_is_refused(
    paths: WorkspacePaths, key_store: OpenedKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard.fs.locks.STALE_LOCK_TIMEOUT", 0.1)
    state = open_state(paths, key_store)
    with pytest.raises(WorkerStateError, match="Another key holder"):
        open_state(paths, key_store)
    state.close()
    open_state(paths, key_store).close()


# ---- migration


def write_legacy_intents(paths: WorkspacePaths, content: bytes) -> None:
    paths.intents.parent.mkdir(parents=True)
    paths.intents.write_bytes(content)


LEGACY_LINE = b'{"task":"t1","fencingToken":3,"sha256":"' + ONE.encode() + b'","at":1.0}\n'


def test_intents_of_earlier_version_are_migrated(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    write_legacy_intents(paths, LEGACY_LINE + b'{"task":"t2","fencingTo')
    state = open_state(paths, key_store)
    assert state.info.unaudited == (StateEvent(record=1, migrated_intents=1),)
    assert not paths.intents.exists()
    state.close()
    state = open_state(paths, key_store)
    assert state.info.unaudited == (StateEvent(record=1, migrated_intents=1),)
    state.record_audited()
    state.close()
    state = open_state(paths, key_store)
    assert state.info.unaudited == ()
    assert isinstance(record(state, "t1", OTHER, 4), ConflictError)
    assert record(state, "t1", ONE, 4) is None
    state.close()


def test_damaged_intents_of_earlier_version_are_refused(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    write_legacy_intents(paths, LEGACY_LINE.replace(b"sha256", b"sha25"))
    with pytest.raises(WorkerStateError, match=r"intents\.jsonl"):
        open_state(paths, key_store)


def test_crash_before_entry_in_key_store_is_completed(paths: WorkspacePaths, key_store: OpenedKeyStore) -> None:
    content = write_state(paths, key_store)
    fresh = make_key_store()
    open_state(paths, fresh).close()
    assert fresh.load_state_epoch() == key_store.load_state_epoch()
    assert paths.worker_state.read_bytes() == content
