"""Tests of upload files: resuming, restarts, concurrent writers, limits and disk errors."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.fs import atomic
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from sealyard.storage.artifacts import FileArtifacts
from sealyard.storage.upload_dir import UploadDir, UploadRecord
from sealyard.storage.upload_file import UploadFile
from tests.support.extent import scale_examples
from tests.support.limits import TIMEOUT
from tests.support.store_helpers import FailingDisk

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class UploadHarness:
    """A folder of uploads, and the artifact store that receives the complete ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = FileArtifacts(root)
        self.folder = UploadDir(root / "uploads")
        self.folder.records()

    def create(self, size: int | None = len(CONTENT), expected: str | None = None) -> UploadFile:
        record = UploadRecord(
            id="an-upload-of-mine",
            owner="USER:dev",
            name="firmware.bin",
            size=size,
            expected_sha256=expected,
            created_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
        file = UploadFile(self.folder, record, self.promote)
        file.store()
        return file

    def reopen(self) -> UploadFile:
        """Open the stored upload as the engine does after a restart."""
        (record,) = UploadDir(self.root / "uploads").records()
        return UploadFile(self.folder, record, self.promote)

    def promote(self, record: UploadRecord, content: Path) -> None:
        assert record.sha256 is not None
        self.artifacts.move_in(content, record.sha256)

    def read_input(self) -> bytes:
        """Return the content of the only stored input, after checking its digest."""
        (sha256,) = self.artifacts.stored_inputs()
        with self.artifacts.open_input(sha256) as file:
            content = file.read()
        assert hashlib.sha256(content).hexdigest() == sha256
        return content

    def list_files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if not path.is_dir()]


@pytest.fixture
def harness(tmp_path: Path) -> UploadHarness:
    return UploadHarness(tmp_path / "artifacts")


@settings(max_examples=scale_examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, len(CONTENT) - 1), max_size=8, unique=True).map(sorted),
    actions=st.lists(st.sampled_from(["continue", "new turn", "restart", "kill"]), min_size=8, max_size=8),
)
def test_resumed_upload_has_the_same_content(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], actions: list[str]
) -> None:
    harness = UploadHarness(tmp_path_factory.mktemp("cuts") / "artifacts")
    file = harness.create(expected=SHA256)
    turn = file.begin(0)
    for end, action in zip(cuts, actions, strict=False):
        file.write(turn, CONTENT[file.bytes_received : end])
        assert file.bytes_received == end
        if action == "new turn":
            file.abort(turn)
            turn = file.begin(end)
        if action in ("restart", "kill"):
            if action == "restart":
                file.close()
            file = harness.reopen()
            assert file.bytes_received == (end if action == "restart" else file.record.offset) <= end
            turn = file.begin(file.bytes_received)
    file.write(turn, CONTENT[file.bytes_received :])
    assert file.record.sha256 == SHA256
    assert harness.read_input() == CONTENT


def test_complete_upload_moves_to_inputs(harness: UploadHarness) -> None:
    file = harness.create()
    turn = file.begin(0)
    file.write(turn, CONTENT[:-1])
    assert {stat.S_IMODE(each.stat().st_mode) for each in harness.list_files()} == {0o600}
    assert stat.S_IMODE((harness.root / "uploads").stat().st_mode) == 0o700
    content = harness.folder.content(file.record)
    inode = content.stat().st_ino
    file.write(turn, CONTENT[-1:])
    assert not content.exists()
    assert harness.artifacts.input_path(SHA256).stat().st_ino == inode


def test_existing_content_is_stored_once(harness: UploadHarness) -> None:
    harness.artifacts.ingest_bytes(CONTENT)
    file = harness.create()
    file.write(file.begin(0), CONTENT)
    assert harness.read_input() == CONTENT
    assert not harness.folder.content(file.record).exists()


def test_kill_keeps_only_durable_bytes(harness: UploadHarness) -> None:
    file = harness.create()
    turn = file.begin(0)
    file.write(turn, CONTENT[:1000])
    file.make_durable(turn)
    file.write(turn, CONTENT[1000:3000])
    with harness.folder.content(file.record).open("r+b") as torn:  # unsynced bytes can have any value
        torn.seek(1000)
        torn.write(os.urandom(5000))
    reopened = harness.reopen()
    assert reopened.bytes_received == 1000
    with pytest.raises(ConflictError, match="at byte 1000, not at 3000"):
        reopened.begin(3000)
    reopened.write(reopened.begin(1000), CONTENT[1000:])
    assert harness.read_input() == CONTENT


def test_kill_before_promotion_keeps_content(harness: UploadHarness) -> None:
    file = UploadFile(harness.folder, harness.create().record, lambda record, content: None)
    file.write(file.begin(0), CONTENT)
    assert list(harness.artifacts.stored_inputs()) == []
    reopened = harness.reopen()
    assert reopened.record.sha256 == SHA256
    reopened.promote()
    assert harness.read_input() == CONTENT


def test_new_turn_ends_previous_turn(harness: UploadHarness) -> None:
    file = harness.create()
    first = file.begin(0)
    file.write(first, CONTENT[:100])
    second = file.begin(100)
    with pytest.raises(ConflictError, match="Another request"):
        file.write(first, b"from the old one")
    file.abort(first)
    file.make_durable(first)
    file.write(second, CONTENT[100:])
    assert harness.read_input() == CONTENT


def test_wrong_offset_keeps_current_turn(harness: UploadHarness) -> None:
    file = harness.create()
    turn = file.begin(0)
    file.write(turn, CONTENT[:100])
    with pytest.raises(ConflictError, match="at byte 100, not at 7"):
        file.begin(7)
    file.write(turn, CONTENT[100:])
    assert harness.read_input() == CONTENT


def test_concurrent_writers_never_interleave(harness: UploadHarness) -> None:
    file = harness.create(expected=SHA256)

    def write_to_end() -> None:
        while file.record.sha256 is None:
            try:
                offset = file.bytes_received
                turn = file.begin(offset)
                for start in range(offset, len(CONTENT), 64):
                    file.write(turn, CONTENT[start : start + 64])
            except ConflictError:
                continue

    writers = [threading.Thread(target=write_to_end) for _ in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(TIMEOUT)
    assert not any(each.is_alive() for each in writers)
    assert harness.read_input() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_digest_mismatch_deletes_upload(harness: UploadHarness, size: int | None) -> None:
    file = harness.create(size, expected="0" * 64)
    turn = file.begin(0)
    with pytest.raises(InvalidInputError, match=f"got {SHA256}"):
        _write_whole(file, turn)
    assert file.is_deleted
    assert harness.list_files() == []


@pytest.mark.parametrize(("start", "batch"), [(len(CONTENT) - 100, 1), (0, len(CONTENT))])
def test_excess_bytes_delete_upload(harness: UploadHarness, start: int, batch: int) -> None:
    file = harness.create(len(CONTENT) - 1)
    turn = file.begin(0)
    file.write(turn, CONTENT[:start])
    with pytest.raises(InvalidInputError, match=r"longer than the declared 10,239 bytes"):
        _write(file, turn, batch)
    file.abort(turn)
    assert file.is_deleted
    assert [each for each in harness.list_files() if each.parent.name == "uploads"] == []


def test_empty_upload_is_deleted(harness: UploadHarness) -> None:
    file = harness.create(None)
    with pytest.raises(InvalidInputError, match="empty"):
        file.complete(file.begin(0))
    assert harness.list_files() == []


def test_upload_without_size_is_not_resumable(harness: UploadHarness) -> None:
    file = harness.create(None)
    turn = file.begin(0)
    file.write(turn, CONTENT)
    assert file.record.sha256 is None
    assert UploadDir(harness.root / "uploads").records() == ()
    assert harness.list_files() == []
    file.drop()
    file = harness.create(None)
    turn = file.begin(0)
    file.write(turn, CONTENT)
    file.complete(turn)
    assert harness.read_input() == CONTENT


def test_dropped_upload_rejects_all_operations(harness: UploadHarness) -> None:
    file = harness.create()
    turn = file.begin(0)
    file.write(turn, CONTENT[:100])
    file.drop()
    file.drop()
    assert harness.list_files() == []
    operations: list[Callable[[], object]] = [lambda: file.write(turn, b"more"), lambda: file.begin(100), file.claim]
    for operation in operations:
        with pytest.raises(NotFoundError):
            operation()
    file.abort(turn)
    assert harness.list_files() == []


def test_truncated_content_raises_storage_error(harness: UploadHarness) -> None:
    file = harness.create()
    file.write(file.begin(0), CONTENT[:1000])
    file.close()
    os.truncate(harness.folder.content(file.record), 999)
    with pytest.raises(StorageError, match="lost"):
        harness.reopen().begin(1000)


def test_records_removes_unknown_files(harness: UploadHarness) -> None:
    file = harness.create()
    file.write(file.begin(0), CONTENT[:1000])
    file.close()
    expected = set(harness.list_files())
    for name in ("stranger", "half.new", "unreadable.json"):
        (harness.root / "uploads" / name).write_bytes(b"?")
    assert harness.folder.records() == (file.record,)
    assert set(harness.list_files()) == expected


@pytest.mark.parametrize("step", range(1, 25))
def test_disk_error_keeps_durable_bytes(harness: UploadHarness, failing_disk: FailingDisk, step: int) -> None:
    file = harness.create(expected=SHA256)
    failing_disk.fail_from(step, times=1)
    errors = 0
    while file.record.sha256 is None or list(harness.artifacts.stored_inputs()) != [SHA256]:
        before = file.record.offset
        try:
            turn = file.begin(file.bytes_received)
            _write(file, turn, 3000)
            file.abort(turn)
        except StorageError:
            assert file.bytes_received >= before
            errors += 1
    assert errors <= 1
    assert harness.read_input() == CONTENT


def test_failed_sync_ends_turn(harness: UploadHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    file = harness.create()
    turn = file.begin(0)
    file.write(turn, CONTENT[:1000])
    sync = atomic.sync

    def fail(fd: int) -> None:
        monkeypatch.setattr(atomic, "sync", sync)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(atomic, "sync", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        file.make_durable(turn)
    with pytest.raises(StorageError, match="could not be stored"):
        file.write(turn, CONTENT[1000:])
    assert file.bytes_received == 0
    file.write(file.begin(0), CONTENT)
    assert harness.read_input() == CONTENT


def _write(file: UploadFile, turn: int, batch: int) -> None:
    for start in range(file.bytes_received, len(CONTENT), batch):
        file.write(turn, CONTENT[start : start + batch])
        file.make_durable(turn)


def _write_whole(file: UploadFile, turn: int) -> None:
    file.write(turn, CONTENT)
    if file.record.size is None:
        file.complete(turn)
