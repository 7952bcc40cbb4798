"""Tests of atomic writes: old or new content, and no temporary file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sealyard.fs import atomic
from sealyard.fs.atomic import AtomicFile, remove_stale_files, rename_exclusive, write_atomic
from tests.support.limits import TIMEOUT


def fail_operation(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """Make an operation of the module fail. A failing write stores half of the data first."""
    write_all = atomic.write_all

    def fail(*arguments: object) -> None:
        if operation == "write_all":
            fd, data = arguments
            assert isinstance(fd, int)
            assert isinstance(data, bytes)
            write_all(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, operation, fail)


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_file_and_sets_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert file_names(tmp_path) == ["file"]


def test_write_sets_the_given_mode(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"", mode=0o400)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o400


def test_write_without_overwrite_keeps_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_atomic(path, b"new", overwrite=False)
    assert path.read_bytes() == b"old"
    assert file_names(tmp_path) == ["file"]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("operation", ["write_all", "sync"])
def test_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, overwrite: bool
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    fail_operation(monkeypatch, operation)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "file", b"new content", overwrite=overwrite)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert file_names(tmp_path) == ["file"]


@pytest.mark.parametrize(("operation", "overwrite"), [("rename", True), ("rename_exclusive", False)])
def test_failed_rename_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, overwrite: bool
) -> None:
    fail_operation(monkeypatch, operation)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "file", b"new content", overwrite=overwrite)
    assert file_names(tmp_path) == []


def test_failed_folder_sync_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_operation(monkeypatch, "sync_folder")
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "file", b"new content")
    assert file_names(tmp_path) == ["file"]


def test_write_syncs_file_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for operation in ("sync", "rename", "sync_folder"):
        real = getattr(atomic, operation)

        def record(*arguments: object, operation: str = operation, real: object = real) -> None:
            order.append(operation)
            assert callable(real)
            real(*arguments)

        monkeypatch.setattr(atomic, operation, record)
    write_atomic(tmp_path / "file", b"new")
    assert order == ["sync", "rename", "sync_folder"]


def test_uncommitted_file_is_removed(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), AtomicFile(tmp_path / "file") as file:
        file.write(b"partial")
        raise ZeroDivisionError
    assert file_names(tmp_path) == []


def test_discard_after_commit_keeps_the_file(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "file")
    file.write(b"one")
    file.write(b"two")
    assert file.commit(overwrite=True) == 6
    file.discard()
    assert (tmp_path / "file").read_bytes() == b"onetwo"


@pytest.fixture
def without_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)


@pytest.mark.usefixtures("without_hard_links")
def test_rename_exclusive_works_without_hard_links(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    rename_exclusive(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"new"
    (tmp_path / "source").write_bytes(b"newer")
    with pytest.raises(FileExistsError):
        rename_exclusive(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.usefixtures("without_hard_links")
def test_failed_rename_exclusive_removes_the_reserved_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(b"new")
    fail_operation(monkeypatch, "rename")
    with pytest.raises(OSError, match="No space left"):
        rename_exclusive(tmp_path / "source", tmp_path / "target")
    assert file_names(tmp_path) == ["source"]


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from sealyard.fs import atomic
atomic.sync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
atomic.write_atomic(Path(sys.argv[1]), b"new")
"""


def test_stale_file_of_killed_writer_is_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(tmp_path / "file")], check=False, timeout=TIMEOUT)
    (name,) = file_names(tmp_path)
    remove_stale_files((tmp_path,))
    assert file_names(tmp_path) == [name]  # a running process may be writing it
    make_old(tmp_path / name)
    remove_stale_files((tmp_path, tmp_path / "missing"))
    assert file_names(tmp_path) == []


def test_other_files_are_no_stale_files(tmp_path: Path) -> None:
    names = (
        ".0123456789abcdef.tmp.x",
        ".0123456789ABCDEF.tmp",
        ".0123456789abcde.tmp",
        "0123456789abcdef.tmp",
        "x.tmp",
    )
    for name in names:
        make_old(tmp_path / name)
    (tmp_path / ".0123456789abcdef.tmp").mkdir()
    (tmp_path / ".0123456789abcdee.tmp").symlink_to(tmp_path / "x.tmp")
    expected_names = file_names(tmp_path)
    remove_stale_files((tmp_path,))
    assert file_names(tmp_path) == expected_names


def make_old(path: Path) -> None:
    path.touch()
    os.utime(path, (0, 0))
