"""An upload on the disk: any cuts give the same content, a restart loses what was not durable, and nothing else."""

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
from tests.support.store_helpers import FailingDisk

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Yard:
    """A folder of uploads, and the artifacts that adopt what is whole."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = FileArtifacts(root)
        self.folder = UploadDir(root / "uploads")
        self.folder.records()

    def new(self, size: int | None = len(CONTENT), expected: str | None = None) -> UploadFile:
        record = UploadRecord(
            id="an-upload-of-mine",
            owner="USER:dev",
            name="firmware.bin",
            size=size,
            expected_sha256=expected,
            created_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
        file = UploadFile(self.folder, record, self.adopt)
        file.store()
        return file

    def again(self) -> UploadFile:
        """As the next engine finds it."""
        (record,) = UploadDir(self.root / "uploads").records()
        return UploadFile(self.folder, record, self.adopt)

    def adopt(self, record: UploadRecord, content: Path) -> None:
        assert record.sha256 is not None
        self.artifacts.move_in(content, record.sha256)

    def received(self) -> bytes:
        """The one input there is."""
        (sha256,) = self.artifacts.stored_inputs()
        with self.artifacts.open_input(sha256) as file:
            content = file.read()
        assert hashlib.sha256(content).hexdigest() == sha256
        return content

    def left(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if not path.is_dir()]


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path / "artifacts")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, len(CONTENT) - 1), max_size=8, unique=True).map(sorted),
    between=st.lists(st.sampled_from(["go on", "new turn", "restart", "kill"]), min_size=8, max_size=8),
)
def test_any_cuts_and_resumes_give_the_same_content(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], between: list[str]
) -> None:
    yard = Yard(tmp_path_factory.mktemp("cuts") / "artifacts")
    file = yard.new(expected=SHA256)
    turn = file.begin(0)
    for end, what in zip(cuts, between, strict=False):
        file.write(turn, CONTENT[file.bytes_received : end])
        assert file.bytes_received == end
        if what == "new turn":
            file.abort(turn)
            turn = file.begin(end)
        if what in ("restart", "kill"):
            if what == "restart":
                file.close()
            file = yard.again()
            assert file.bytes_received == (end if what == "restart" else file.record.offset) <= end
            turn = file.begin(file.bytes_received)
    file.write(turn, CONTENT[file.bytes_received :])
    assert file.record.sha256 == SHA256
    assert yard.received() == CONTENT


def test_an_upload_is_private_and_moves_into_the_inputs_when_whole(yard: Yard) -> None:
    file = yard.new()
    turn = file.begin(0)
    file.write(turn, CONTENT[:-1])
    assert {stat.S_IMODE(each.stat().st_mode) for each in yard.left()} == {0o600}
    assert stat.S_IMODE((yard.root / "uploads").stat().st_mode) == 0o700
    content = yard.folder.content(file.record)
    inode = content.stat().st_ino
    file.write(turn, CONTENT[-1:])
    assert not content.exists()
    assert yard.artifacts.input_path(SHA256).stat().st_ino == inode


def test_content_that_is_there_already_is_kept_once(yard: Yard) -> None:
    yard.artifacts.ingest_bytes(CONTENT)
    file = yard.new()
    file.write(file.begin(0), CONTENT)
    assert yard.received() == CONTENT
    assert not yard.folder.content(file.record).exists()


def test_only_what_was_made_durable_counts_after_a_kill(yard: Yard) -> None:
    file = yard.new()
    turn = file.begin(0)
    file.write(turn, CONTENT[:1000])
    file.make_durable(turn)
    file.write(turn, CONTENT[1000:3000])
    with yard.folder.content(file.record).open("r+b") as torn:  # what was not synced may be anything
        torn.seek(1000)
        torn.write(os.urandom(5000))
    again = yard.again()
    assert again.bytes_received == 1000
    with pytest.raises(ConflictError, match="at byte 1000, not at 3000"):
        again.begin(3000)
    again.write(again.begin(1000), CONTENT[1000:])
    assert yard.received() == CONTENT


def test_an_engine_killed_between_the_last_byte_and_the_adoption_finds_the_content(yard: Yard) -> None:
    file = UploadFile(yard.folder, yard.new().record, lambda record, content: None)
    file.write(file.begin(0), CONTENT)
    assert list(yard.artifacts.stored_inputs()) == []
    again = yard.again()
    assert again.record.sha256 == SHA256
    again.promote()
    assert yard.received() == CONTENT


def test_a_newer_turn_ends_the_one_before(yard: Yard) -> None:
    file = yard.new()
    first = file.begin(0)
    file.write(first, CONTENT[:100])
    second = file.begin(100)
    with pytest.raises(ConflictError, match="Another request"):
        file.write(first, b"from the old one")
    file.abort(first)
    file.make_durable(first)
    file.write(second, CONTENT[100:])
    assert yard.received() == CONTENT


def test_a_turn_from_a_wrong_offset_leaves_the_one_that_is_on(yard: Yard) -> None:
    file = yard.new()
    turn = file.begin(0)
    file.write(turn, CONTENT[:100])
    with pytest.raises(ConflictError, match="at byte 100, not at 7"):
        file.begin(7)
    file.write(turn, CONTENT[100:])
    assert yard.received() == CONTENT


def test_writers_racing_for_one_upload_never_interleave(yard: Yard) -> None:
    file = yard.new(expected=SHA256)

    def one() -> None:
        while file.record.sha256 is None:
            try:
                offset = file.bytes_received
                turn = file.begin(offset)
                for start in range(offset, len(CONTENT), 64):
                    file.write(turn, CONTENT[start : start + 64])
            except ConflictError:
                continue

    writers = [threading.Thread(target=one) for _ in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)
    assert not any(each.is_alive() for each in writers)
    assert yard.received() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_another_digest_is_refused_and_leaves_nothing(yard: Yard, size: int | None) -> None:
    file = yard.new(size, expected="0" * 64)
    turn = file.begin(0)
    with pytest.raises(InvalidInputError, match=f"got {SHA256}"):
        _write_whole(file, turn)
    assert file.is_deleted
    assert yard.left() == []


@pytest.mark.parametrize("batch", [1, len(CONTENT)])
def test_too_many_bytes_are_refused_and_leave_nothing_however_they_come(yard: Yard, batch: int) -> None:
    file = yard.new(len(CONTENT) - 1)
    turn = file.begin(0)
    with pytest.raises(InvalidInputError, match=r"longer than the declared 10,239 bytes"):
        _write(file, turn, batch)
    file.abort(turn)
    assert file.is_deleted
    assert [each for each in yard.left() if each.parent.name == "uploads"] == []


def test_no_bytes_are_refused_and_leave_nothing(yard: Yard) -> None:
    file = yard.new(None)
    with pytest.raises(InvalidInputError, match="empty"):
        file.complete(file.begin(0))
    assert yard.left() == []


def test_content_whose_size_is_not_said_ends_where_it_is_finished_and_is_not_kept_over_a_restart(yard: Yard) -> None:
    file = yard.new(None)
    turn = file.begin(0)
    file.write(turn, CONTENT)
    assert file.record.sha256 is None
    assert UploadDir(yard.root / "uploads").records() == ()
    assert yard.left() == []
    file.drop()
    again = yard.new(None)
    turn = again.begin(0)
    again.write(turn, CONTENT)
    again.complete(turn)
    assert yard.received() == CONTENT


def test_a_dropped_upload_is_gone_also_for_who_writes_it(yard: Yard) -> None:
    file = yard.new()
    turn = file.begin(0)
    file.write(turn, CONTENT[:100])
    file.drop()
    file.drop()
    assert yard.left() == []
    uses: list[Callable[[], object]] = [lambda: file.write(turn, b"more"), lambda: file.begin(100), file.claim]
    for use in uses:
        with pytest.raises(NotFoundError):
            use()
    file.abort(turn)
    assert yard.left() == []


def test_content_that_is_shorter_than_its_record_says_is_not_padded(yard: Yard) -> None:
    file = yard.new()
    file.write(file.begin(0), CONTENT[:1000])
    file.close()
    os.truncate(yard.folder.content(file.record), 999)
    with pytest.raises(StorageError, match="lost"):
        yard.again().begin(1000)


def test_what_is_no_uploads_is_cleared_away_at_start(yard: Yard) -> None:
    file = yard.new()
    file.write(file.begin(0), CONTENT[:1000])
    file.close()
    kept = set(yard.left())
    for name in ("stranger", "half.new", "unreadable.json"):
        (yard.root / "uploads" / name).write_bytes(b"?")
    assert yard.folder.records() == (file.record,)
    assert set(yard.left()) == kept


@pytest.mark.parametrize("step", range(1, 25))
def test_a_disk_that_refuses_costs_only_what_was_not_durable(yard: Yard, failing_disk: FailingDisk, step: int) -> None:
    file = yard.new(expected=SHA256)
    failing_disk.fail_from(step, times=1)
    errors = 0
    while file.record.sha256 is None or list(yard.artifacts.stored_inputs()) != [SHA256]:
        before = file.record.offset
        try:
            turn = file.begin(file.bytes_received)
            _write(file, turn, 3000)
            file.abort(turn)
        except StorageError:
            assert file.bytes_received >= before
            errors += 1
    assert errors <= 1
    assert yard.received() == CONTENT


def test_a_failed_sync_beside_the_writing_ends_the_turn(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    file = yard.new()
    turn = file.begin(0)
    file.write(turn, CONTENT[:1000])
    sync = atomic.sync

    def refuse(fd: int) -> None:
        monkeypatch.setattr(atomic, "sync", sync)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(atomic, "sync", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        file.make_durable(turn)
    with pytest.raises(StorageError, match="could not be stored"):
        file.write(turn, CONTENT[1000:])
    assert file.bytes_received == 0
    file.write(file.begin(0), CONTENT)
    assert yard.received() == CONTENT


def _write(file: UploadFile, turn: int, batch: int) -> None:
    for start in range(file.bytes_received, len(CONTENT), batch):
        file.write(turn, CONTENT[start : start + batch])
        file.make_durable(turn)


def _write_whole(file: UploadFile, turn: int) -> None:
    file.write(turn, CONTENT)
    if file.record.size is None:
        file.complete(turn)
