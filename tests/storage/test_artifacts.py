"""Tests of the artifact store: ingesting inputs, publishing results, file modes and error handling."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.model.errors import InvalidInputError, NotFoundError, ResultGoneError, StorageError, UsageError
from sealyard.storage import ingest
from sealyard.storage.artifacts import FileArtifacts, ResultId, StoredInput
from tests.support.extent import scale_examples
from tests.support.store_helpers import FailingDisk, publish_result

CHUNK = 4096


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def store(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.bin"
    path.write_bytes(b"firmware" * 4000)
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def list_files(tmp_path: Path) -> list[str]:
    """Return the paths of all stored files, relative to the artifact folder."""
    folder = tmp_path / "artifacts"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@settings(max_examples=scale_examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(1, 5 * CHUNK) | st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK]))
def test_ingest_stores_input_under_its_sha256(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    folder = tmp_path_factory.mktemp("ingest")
    content = os.urandom(length)
    (folder / "source").write_bytes(content)
    store = FileArtifacts(folder / "artifacts")
    steps: list[int] = []
    stored = store.ingest(folder / "source", steps.append)
    assert stored == StoredInput(sha256=sha256(content), size=length)
    assert sum(steps) == length
    with store.open_input(stored.sha256) as file:
        assert file.read() == content


def test_files_and_folders_are_private(tmp_path: Path, store: FileArtifacts, source: Path) -> None:
    stored = store.ingest(source)
    assert list_files(tmp_path) == [f"inputs/{stored.sha256[:2]}/{stored.sha256}"]
    assert stat.S_IMODE(store.input_path(stored.sha256).stat().st_mode) == 0o600
    store.work_dir("t-1")
    folders = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "artifacts", *folders)} == {0o700}


def test_ingest_same_content_twice_stores_once(tmp_path: Path, store: FileArtifacts, source: Path) -> None:
    first = store.ingest(source)
    inode = store.input_path(first.sha256).stat().st_ino
    assert store.ingest(source) == store.ingest_bytes(source.read_bytes()) == first
    assert store.input_path(first.sha256).stat().st_ino == inode
    assert len(list_files(tmp_path)) == 1
    assert list(store.stored_inputs()) == [first.sha256]


def test_delete_input_is_idempotent(store: FileArtifacts, source: Path) -> None:
    stored = store.ingest(source)
    store.delete_input(stored.sha256)
    store.delete_input(stored.sha256)
    for read in (store.input_path, store.open_input):
        with pytest.raises(NotFoundError):
            read(stored.sha256)


def test_ingest_symlink_stores_its_target(tmp_path: Path, store: FileArtifacts, source: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    assert store.ingest(tmp_path / "link") == store.ingest(source)


def leave_missing(path: Path) -> None:
    """Leave the path without a file."""


def link_to_missing(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def create_empty(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (leave_missing, "not found"),
        (link_to_missing, "not found"),
        (link_to_itself, "Cannot read"),
        (create_empty, "is empty"),
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "is not a regular file"),
    ],
)
def test_ingest_invalid_file_reports_escaped_name(
    tmp_path: Path, store: FileArtifacts, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "odd\x1b[31m\u202ename"
    make(path)
    with pytest.raises(InvalidInputError) as caught:
        store.ingest(path)
    assert caught.value.message.removeprefix("Cannot read ").startswith("odd\\x1b[31m\\u202ename ")
    assert message in caught.value.message
    assert caught.value.hint
    assert list_files(tmp_path) == []


def test_ingest_device_file_is_rejected(store: FileArtifacts) -> None:
    with pytest.raises(InvalidInputError, match="null is not a regular file"):
        store.ingest(Path("/dev/null"))


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800"])
def test_ingest_invalid_path_is_rejected(tmp_path: Path, store: FileArtifacts, name: str) -> None:
    with pytest.raises(InvalidInputError):
        store.ingest(tmp_path / name)


def test_ingest_unreadable_file_is_rejected(
    monkeypatch: pytest.MonkeyPatch, store: FileArtifacts, source: Path
) -> None:
    def fail(*_arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(InvalidInputError, match=r"permission to read firmware\.bin"):
        store.ingest(source)


def test_ingest_read_error_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: FileArtifacts, source: Path
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "readv", fail)
    with pytest.raises(InvalidInputError, match="Cannot read"):
        store.ingest(source)
    assert list_files(tmp_path) == []


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shorten(path: Path) -> None:
    os.truncate(path, CHUNK)


def overwrite(path: Path) -> None:
    with path.open("rb+") as file:
        file.write(b"other")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def replace(path: Path) -> None:
    twin = path.with_name("twin")
    twin.write_bytes(path.read_bytes())
    os.utime(twin, ns=(0, path.stat().st_mtime_ns))
    twin.replace(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (append, "changed while"),
        (shorten, "changed while"),
        (overwrite, "changed while"),
        (replace, "changed while"),
        (Path.unlink, "removed while"),
    ],
)
def test_ingest_file_changed_meanwhile_stores_nothing(
    tmp_path: Path, store: FileArtifacts, source: Path, change: Callable[[Path], object], message: str
) -> None:
    done: list[int] = []

    def progress(length: int) -> None:
        if not done:
            change(source)
        done.append(length)

    with pytest.raises(InvalidInputError, match=message):
        store.ingest(source, progress)
    assert list_files(tmp_path) == []


def test_ingest_digest_mismatch_is_rejected(tmp_path: Path, store: FileArtifacts, source: Path) -> None:
    right = sha256(source.read_bytes())
    with pytest.raises(InvalidInputError, match=f"got {right}"):
        store.ingest(source, expected_sha256="0" * 64)
    assert list_files(tmp_path) == []
    assert store.ingest(source, expected_sha256=right.upper()).sha256 == right


def test_ingest_empty_bytes_is_rejected(store: FileArtifacts) -> None:
    with pytest.raises(InvalidInputError):
        store.ingest_bytes(b"")


def test_progress_exception_aborts_ingest(tmp_path: Path, store: FileArtifacts, source: Path) -> None:
    class CancelledError(Exception):
        pass

    def stop(_done: int) -> None:
        raise CancelledError

    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CancelledError):
        store.ingest(source, stop)
    assert list_files(tmp_path) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_ingest_on_full_disk_stores_nothing(tmp_path: Path, store: FileArtifacts, source: Path) -> None:
    """Use a file size limit, so that the kernel stores a part of the data before the write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK + 100, hard))
    try:
        with pytest.raises(StorageError, match="Not enough disk space for writing the input"):
            store.ingest(source)
        with pytest.raises(StorageError, match="Not enough disk space for writing the input"):
            store.ingest_bytes(source.read_bytes())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list_files(tmp_path) == []
    store.ingest(source)


@pytest.mark.parametrize("operation", ["write_all", "sync", "rename", "sync_folder"])
def test_failed_ingest_can_be_retried(
    tmp_path: Path, failing_disk: FailingDisk, store: FileArtifacts, source: Path, operation: str
) -> None:
    failing_disk.fail(operation)
    with pytest.raises(StorageError):
        store.ingest(source)
    assert [name for name in list_files(tmp_path) if name.startswith("incoming")] == []
    stored = store.ingest(source)
    assert store.input_path(stored.sha256).read_bytes() == source.read_bytes()


def test_ingest_without_free_space_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: FileArtifacts, source: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    steps: list[int] = []
    with pytest.raises(StorageError, match=r"32,000 bytes needed, 1,000 available"):
        store.ingest(source, steps.append)
    assert steps == []
    store.check_free_space(1000)


def test_delete_temporary_removes_only_partial_ingests(tmp_path: Path, store: FileArtifacts, source: Path) -> None:
    stored = store.ingest(source)
    (store.work_dir("t-1") / "container").write_bytes(b"segments")
    (tmp_path / "artifacts" / "incoming" / "tmpleft").write_bytes(b"half")
    store.delete_temporary()
    assert list_files(tmp_path) == [f"inputs/{stored.sha256[:2]}/{stored.sha256}", "work/t-1/container"]


def test_published_result_is_readable_from_offset(tmp_path: Path, store: FileArtifacts) -> None:
    work = store.work_dir("t-1") / "container"
    work.write_bytes(b"container")
    work.chmod(0o644)
    assert not store.has_result("t-1")
    publish_result(store, "t-1", work)
    assert store.has_result("t-1")
    assert not work.exists()
    assert stat.S_IMODE(store.result_path("t-1").stat().st_mode) == 0o600
    for offset in (0, 4, 9, 99):
        with store.open_result(ResultId("t-1", 1), offset) as file:
            assert file.read() == b"container"[offset:]
    store.delete_work("t-1")
    store.delete_work("t-1")
    assert list_files(tmp_path) == ["results/t-1"]


def test_unpublish_result_restores_work_file(store: FileArtifacts) -> None:
    work = store.work_dir("t-1") / "container"
    work.write_bytes(b"container")
    publish_result(store, "t-1", work)
    store.unpublish_result("t-1", "container")
    assert not store.has_result("t-1")
    assert work.read_bytes() == b"container"
    assert store.tasks_with_work_dir() == ("t-1",)


def test_removed_result_raises_result_gone(store: FileArtifacts) -> None:
    work = store.work_dir("t-1") / "container"
    work.write_bytes(b"container")
    publish_result(store, "t-1", work)
    store.remove_result("t-1")
    store.remove_result("t-1")
    assert not store.has_result("t-1")
    with pytest.raises(ResultGoneError):
        store.open_result(ResultId("t-1", 1))


@pytest.mark.parametrize("operation", ["sync", "rename"])
def test_failed_publish_keeps_work_file(failing_disk: FailingDisk, store: FileArtifacts, operation: str) -> None:
    work = store.work_dir("t-1") / "container"
    work.write_bytes(b"container")
    failing_disk.fail(operation)
    with pytest.raises(StorageError, match="Not enough disk space for moving the result"):
        publish_result(store, "t-1", work)
    assert not store.has_result("t-1")
    publish_result(store, "t-1", work)


def test_publish_missing_work_file_raises(store: FileArtifacts) -> None:
    with pytest.raises(StorageError):
        publish_result(store, "t-1", store.work_dir("t-1") / "container")


@pytest.mark.parametrize("name", ["", "..", ".", "../t-1", "a/b", "/etc/passwd", "a\0", "-x", "x" * 129, "t-1\n"])
def test_task_id_with_path_is_rejected(store: FileArtifacts, name: str) -> None:
    def open_result(task_id: str) -> object:
        return store.open_result(ResultId(task_id, 1))

    for method in (store.work_dir, store.delete_work, store.result_path, open_result, store.remove_result):
        with pytest.raises(UsageError):
            method(name)


@pytest.mark.parametrize("digest", ["", "ab", "A" * 64, "../" + "a" * 61, "g" * 64, "a" * 64 + "\n"])
def test_invalid_digest_is_rejected(store: FileArtifacts, digest: str) -> None:
    for method in (store.input_path, store.open_input, store.delete_input):
        with pytest.raises(UsageError):
            method(digest)


def test_folder_creation_failure_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        FileArtifacts(tmp_path / "file" / "artifacts")
