"""Test the file names of downloads, and the locking of partial files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sealyard.client.downloads.files import MAX_NAME_BYTES, PartialFile, part_name, safe_file_name, write_unique
from sealyard.model.errors import StorageError

foreign_names = st.text(st.characters(), max_size=400) | st.text("/\\.. ~-\x00\x1b\u202eac:", max_size=40)


@given(name=foreign_names, task_id=foreign_names)
@example(name="", task_id="")
@example(name="..", task_id="../x")
@example(name="x" * 300 + ".bin", task_id="y" * 300)
@example(name="é" * 200, task_id="")
@example(name="con", task_id="")
@example(name="x" * 155 + ".part" + "y" * 40, task_id="")
def test_any_name_becomes_safe(name: str, task_id: str) -> None:
    local = safe_file_name(name, task_id)
    for file_name in (local, part_name(local, task_id)):
        assert os.path.normpath(file_name) == file_name == Path(file_name).name
        assert 0 < len(file_name.encode()) <= 255
        assert file_name.isprintable()
        assert not file_name.startswith((".", "-", "~", " "))
    assert not local.endswith((".", " ", ".part"))
    assert not set(local) & set('/\\:*?"<>|')


@given(name=foreign_names, task_id=foreign_names)
def test_safe_name_is_unchanged(name: str, task_id: str) -> None:
    local = safe_file_name(name, task_id)
    assert safe_file_name(local, task_id) == local


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("firmware-1.2.bin.se1", "firmware-1.2.bin.se1"),
        ("Türöffner (neu).enc", "Türöffner (neu).enc"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\autoexec.bat", "C__autoexec.bat"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("CON.bin", "_CON.bin"),
        ("other.0123456789.part", "other.0123456789_part"),
        ("a\nb\u202egpj.exe", "a_b_gpj.exe"),
        ("..", "task-0123456789"),
        ("", "task-0123456789"),
    ],
)
def test_safe_file_name_replaces_unsafe_parts(name: str, expected: str) -> None:
    assert safe_file_name(name, "0123456789") == expected


def test_long_name_keeps_suffix() -> None:
    local = safe_file_name("ä" * 500 + ".bin", "0123456789")
    assert local.endswith(".bin")
    assert MAX_NAME_BYTES - 1 <= len(local.encode()) <= MAX_NAME_BYTES


def test_partial_file_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    first = PartialFile.acquire(path)
    assert first is not None
    assert PartialFile.acquire(path) is None
    first.close()
    assert not path.exists()
    second = PartialFile.acquire(path)
    assert second is not None
    second.close()


def test_renamed_partial_file_is_not_modified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, final = tmp_path / "x.part", tmp_path / "x"
    path.write_bytes(b"finished")
    lock = fcntl.flock

    def rename_after_lock(fd: int, operation: int) -> None:
        lock(fd, operation)
        if not final.exists():
            path.rename(final)

    monkeypatch.setattr(fcntl, "flock", rename_after_lock)
    part = PartialFile.acquire(path)
    assert part is not None
    part.append(b"mine")
    part.close()
    assert (final.read_bytes(), path.read_bytes()) == (b"finished", b"mine")


def test_write_unique_never_replaces_file(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"another file")
    created = write_unique(tmp_path, "key.pem", b"mine")
    assert (created.name, created.read_bytes(), created.stat().st_mode & 0o777) == ("key (2).pem", b"mine", 0o600)
    assert (tmp_path / "key.pem").read_bytes() == b"another file"
    assert write_unique(tmp_path, "key.pem", b"mine") == created


def test_unwritable_folder_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Cannot write"):
        write_unique(tmp_path / "file", "key.pem", b"mine")
