"""Tests of the audit log: preparing and appending entries, checkpoints, and recovery after a crash."""

from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.audit import log as log_module
from sealyard.audit.encoding import encode_entry
from sealyard.audit.log import AuditLog
from sealyard.audit.merkle import leaf_hash
from sealyard.audit.reader import AuditReader
from sealyard.audit.verify import verify_log
from sealyard.fs import atomic
from sealyard.model.audit import GENESIS_HASH, AuditAction
from sealyard.model.errors import AuditVerificationError, ConcurrentWriterError, InvalidInputError, StorageError
from tests.support.factories.audit import ORIGIN, START, add, add_checkpoint, draft, make_log, public_pem


def test_empty_log_starts_at_entry_0(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path / "audit")
    assert (log.size, log.next_seq, log.checkpointed_size, log.last_note()) == (0, 0, 0, None)
    assert draft(log).previous == GENESIS_HASH


def test_prepare_writes_nothing(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    draft(log)
    assert (log.next_seq, log.size, list(tmp_path.iterdir())) == (1, 0, [])


def test_reader_returns_prepared_entries(tmp_path: Path) -> None:
    entries = add(AuditLog.open(tmp_path), 5)
    assert list(AuditReader(tmp_path).all_entries()) == entries


def test_sequence_continues_after_restart(tmp_path: Path) -> None:
    first = add(make_log(tmp_path, (0,)), 3)
    log = AuditLog.open(tmp_path)
    second = add(log, 2)
    assert [entry.seq for entry in AuditReader(tmp_path).all_entries()] == [0, 1, 2, 3, 4]
    assert second[0].previous == leaf_hash(encode_entry(first[-1])).hex()
    assert verify_log(AuditReader(tmp_path)).size == 5


def test_root_is_unchanged_after_restart(tmp_path: Path) -> None:
    log = make_log(tmp_path, (4, 7), uncheckpointed=3)
    reopened = AuditLog.open(tmp_path)
    assert (reopened.root, reopened.size, reopened.checkpointed_size, reopened.uncheckpointed_count) == (
        log.root,
        10,
        7,
        3,
    )


def test_append_is_idempotent(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    entries = [draft(log) for _ in range(4)]
    log.append(entries[:2])
    log.append(entries)
    log.append(entries)
    assert list(log.all_entries()) == entries


def test_append_after_crash_adds_missing_entries(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    committed = [draft(log) for _ in range(4)]
    log.append(committed[:1])
    reopened = AuditLog.open(tmp_path)
    reopened.append(committed)
    assert (reopened.next_seq, reopened.head) == (4, log.head)


def test_append_with_gap_is_rejected(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    entries = [draft(log) for _ in range(3)]
    with pytest.raises(AuditVerificationError, match="does not follow"):
        log.append(entries[1:])
    assert log.size == 0


def test_append_of_foreign_entry_is_rejected(tmp_path: Path) -> None:
    log, other = AuditLog.open(tmp_path / "one"), AuditLog.open(tmp_path / "two")
    add(log, 1)
    add(other, 1, "something else")
    with pytest.raises(AuditVerificationError, match="does not follow"):
        log.append([draft(other)])


def test_rollback_discards_prepared_entries(tmp_path: Path) -> None:
    log = make_log(tmp_path, (0,))
    add(log, 2)
    head = log.head
    draft(log, "never committed")
    log.rollback(head)
    add(log, 1)
    assert verify_log(AuditReader(tmp_path)).size == 3
    assert [entry.seq for entry in log.all_entries()] == [0, 1, 2]


def test_rollback_of_appended_entries_is_rejected(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    head = log.head
    add(log, 1)
    with pytest.raises(AuditVerificationError):
        log.rollback(head)


def test_invalid_entry_keeps_next_seq(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    with pytest.raises(InvalidInputError):
        draft(log, "\udc80")
    assert log.next_seq == 0


def test_timestamps_are_stored_in_utc(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    local = datetime(2026, 11, 23, 10, 0, tzinfo=timezone(timedelta(hours=2)))
    entry = log.prepare(timestamp=local, author="A:a", change=AuditAction.CREATED, resource="R:r", message="")
    log.append([entry])
    assert b'"timestamp":"2026-11-23T08:00:00Z"' in (tmp_path / "segment-000000.jsonl").read_bytes()


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300).filter(lambda tail: b"\n" not in tail))
def test_open_truncates_torn_last_line(tmp_path_factory: object, tail: bytes) -> None:
    folder = tmp_path_factory.mktemp("torn")  # type: ignore[attr-defined]
    make_log(folder, (3,), uncheckpointed=2)
    path = folder / "segment-000000.jsonl"
    content = path.read_bytes()
    path.write_bytes(content + tail)
    assert AuditReader(folder).size == 5
    assert path.read_bytes() == content + tail
    log = AuditLog.open(folder)
    assert path.read_bytes() == content
    add(log, 1)
    assert verify_log(AuditReader(folder)).size == 6


def test_append_restores_torn_entry(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    entries = add(log, 3)
    path = tmp_path / "segment-000000.jsonl"
    content = path.read_bytes()
    begin = content.rindex(b"\n", 0, -1) + 1
    for length in range(begin, len(content)):
        path.write_bytes(content[:length])
        AuditLog.open(tmp_path).append(entries)
        assert path.read_bytes() == content


def test_open_truncates_torn_checkpoint(tmp_path: Path) -> None:
    make_log(tmp_path, (2, 4))
    path = tmp_path / "checkpoints.txt"
    content = path.read_bytes()
    begin = len(content) // 2
    for length in range(begin, len(content)):
        path.write_bytes(content[:length])
        log = AuditLog.open(tmp_path)
        assert (log.checkpointed_size, path.read_bytes()) == (2, content[:begin])
    add_checkpoint(log)
    assert verify_log(AuditReader(tmp_path)).checkpoints_checked == 2


def test_full_segment_starts_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT_ENTRIES", 4)
    log = make_log(tmp_path, (3, 9), uncheckpointed=3)
    reopened = AuditLog.open(tmp_path)
    add(reopened, 2)
    lines = [len(path.read_bytes().splitlines()) for path in sorted(tmp_path.glob("segment-*"))]
    assert lines == [4, 4, 4, 2]
    assert (verify_log(AuditReader(tmp_path)).size, log.checkpointed_size) == (14, 9)


def test_torn_first_line_of_segment_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT_ENTRIES", 4)
    make_log(tmp_path, (4,))
    (tmp_path / "segment-000001.jsonl").write_bytes(b'{"half')
    log = AuditLog.open(tmp_path)
    add(log, 2)
    assert verify_log(AuditReader(tmp_path)).size == 6


def test_append_on_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = make_log(tmp_path, (0,))
    add(log, 1)
    path = tmp_path / "segment-000000.jsonl"
    before = path.read_bytes()
    entry = draft(log)
    real_write = os.write

    def write_half(handle: int, data: memoryview) -> int:
        real_write(handle, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_half)
        with pytest.raises(StorageError, match="No space left"):
            log.append([entry])
    assert path.read_bytes() == before
    log.append([entry])
    assert verify_log(AuditReader(tmp_path)).size == 2


def test_second_writer_is_rejected(tmp_path: Path) -> None:
    log, other = AuditLog.open(tmp_path), AuditLog.open(tmp_path)
    add(log, 1)
    with pytest.raises(ConcurrentWriterError, match="Another process"):
        add(other, 1)


def add_to_both_files(log: AuditLog) -> None:
    add(log, 1)
    add_checkpoint(log)


@pytest.mark.parametrize("name", ["segment-000000.jsonl", "checkpoints.txt"])
def test_second_writer_of_existing_file_is_rejected(tmp_path: Path, name: str) -> None:
    make_log(tmp_path, (2,))
    log = AuditLog.open(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes() + b"more")
    before = path.read_bytes()
    with pytest.raises(ConcurrentWriterError, match=name):
        add_to_both_files(log)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["segment-000000.jsonl", "checkpoints.txt"])
def test_replaced_file_is_rejected(tmp_path: Path, name: str) -> None:
    make_log(tmp_path, (2,))
    path = tmp_path / name
    log = AuditLog.open(tmp_path)
    (tmp_path / "copy").write_bytes(path.read_bytes())
    (tmp_path / "copy").replace(path)
    with pytest.raises(ConcurrentWriterError, match=name):
        add_to_both_files(log)


@pytest.mark.parametrize("name", ["segment-000000.jsonl", "checkpoints.txt"])
def test_removed_file_is_rejected(tmp_path: Path, name: str) -> None:
    make_log(tmp_path, (2,))
    log = AuditLog.open(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ConcurrentWriterError, match=name):
        add_to_both_files(log)
    assert not (tmp_path / name).exists()


def test_failed_append_keeps_entries_of_second_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = make_log(tmp_path, (1,))
    path = tmp_path / "segment-000000.jsonl"

    def append_and_fail(fd: int, data: bytes) -> None:
        path.write_bytes(path.read_bytes() + b"entry of the second writer\n")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "write_all", append_and_fail)
    with pytest.raises(ConcurrentWriterError):
        add(log, 1)
    assert path.read_bytes().endswith(b"entry of the second writer\n")


def test_failed_folder_sync_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = make_log(tmp_path, (0,))
    entry = draft(log)
    synced_folders: list[Path] = []

    def fail_once(folder: Path) -> None:
        synced_folders.append(folder)
        if len(synced_folders) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic, "sync_folder", fail_once)
    with pytest.raises(StorageError):
        log.append([entry])
    log.append([entry])
    assert synced_folders == [tmp_path, tmp_path]
    assert verify_log(AuditReader(tmp_path)).size == 1


def test_open_changed_log_is_rejected(tmp_path: Path) -> None:
    make_log(tmp_path, (4,))
    path = tmp_path / "segment-000000.jsonl"
    path.write_bytes(path.read_bytes().replace(b"number 2", b"number 7"))
    with pytest.raises(AuditVerificationError, match="does not match its last checkpoint"):
        AuditLog.open(tmp_path)


def test_open_truncated_log_is_rejected(tmp_path: Path) -> None:
    make_log(tmp_path, (4,))
    (tmp_path / "segment-000000.jsonl").unlink()
    with pytest.raises(AuditVerificationError, match="does not match its last checkpoint"):
        AuditLog.open(tmp_path)


def test_checkpoint_of_grown_log_is_accepted(tmp_path: Path) -> None:
    log = make_log(tmp_path, (2,))
    checkpoint = log.checkpoint(ORIGIN)
    add(log, 3)
    assert add_checkpoint(log).splitlines()[1] == "5"
    assert checkpoint.size == 2
    assert verify_log(AuditReader(tmp_path)).checkpointed_size == 5


def test_append_unrequested_checkpoint_is_rejected(tmp_path: Path) -> None:
    note = add_checkpoint(make_log(tmp_path / "one", (3,)))
    other = make_log(tmp_path / "two", (2,), uncheckpointed=1)
    with pytest.raises(AuditVerificationError, match="was requested"):
        other.append_checkpoint(note)


def test_second_audit_key_is_rejected(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    log.pin_key(public_pem())
    log.pin_key(public_pem())
    with pytest.raises(AuditVerificationError, match=r"audit-key\.pem"):
        log.pin_key(public_pem(Ed25519PrivateKey.from_private_bytes(bytes(32))))


def test_failed_write_pins_no_audit_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog.open(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync", fail)
        with pytest.raises(StorageError, match="Cannot write the audit log"):
            log.pin_key(public_pem())
    assert not list(tmp_path.iterdir())
    log.pin_key(public_pem())


def test_log_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    make_log(folder, (1,))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_log_offers_no_modifying_methods(tmp_path: Path) -> None:
    names = [name for name in dir(AuditLog) if not name.startswith("_")]
    assert not [name for name in names if any(word in name for word in ("delete", "remove", "update", "truncate"))]


def test_entries_keep_append_order(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    log.append([draft(log, minutes=9), draft(log, minutes=3)])
    assert [entry.timestamp - START for entry in log.all_entries()] == [timedelta(minutes=9), timedelta(minutes=3)]
