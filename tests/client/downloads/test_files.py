"""Names of downloads are harmless in any folder, whatever the engine says; a part has one holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sealyard.client.downloads.files import MAX_NAME_BYTES, PartialFile, part_name, safe_file_name, write_unique
from sealyard.model.errors import StorageError

foreign = st.text(st.characters(), max_size=400) | st.text("/\\.. ~-\x00\x1b\u202eac:", max_size=40)


@given(name=foreign, task_id=foreign)
@example(name="", task_id="")
@example(name="..", task_id="../x")
@example(name="x" * 300 + ".bin", task_id="y" * 300)
@example(name="é" * 200, task_id="")
@example(name="con", task_id="")
@example(name="x" * 155 + ".part" + "y" * 40, task_id="")
def test_any_name_becomes_one_that_is_harmless_in_the_folder(name: str, task_id: str) -> None:
    local = safe_file_name(name, task_id)
    for made in (local, part_name(local, task_id)):
        assert os.path.normpath(made) == made == Path(made).name
        assert 0 < len(made.encode()) <= 255
        assert made.isprintable()
        assert not made.startswith((".", "-", "~", " "))
    assert not local.endswith((".", " ", ".part"))
    assert not set(local) & set('/\\:*?"<>|')


@given(name=foreign, task_id=foreign)
def test_a_name_once_harmless_stays_as_it_is(name: str, task_id: str) -> None:
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
def test_names_as_they_come_and_go(name: str, expected: str) -> None:
    assert safe_file_name(name, "0123456789") == expected


def test_a_name_that_is_too_long_keeps_its_suffix() -> None:
    local = safe_file_name("ä" * 500 + ".bin", "0123456789")
    assert local.endswith(".bin")
    assert MAX_NAME_BYTES - 1 <= len(local.encode()) <= MAX_NAME_BYTES


def test_a_part_has_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    first = PartialFile.acquire(path)
    assert first is not None
    assert PartialFile.acquire(path) is None
    first.close()
    assert not path.exists()
    second = PartialFile.acquire(path)
    assert second is not None
    second.close()


def test_a_part_that_got_its_final_name_while_one_waited_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, final = tmp_path / "x.part", tmp_path / "x"
    path.write_bytes(b"finished")
    lock = fcntl.flock

    def finished_meanwhile(fd: int, operation: int) -> None:
        lock(fd, operation)
        if not final.exists():
            path.rename(final)

    monkeypatch.setattr(fcntl, "flock", finished_meanwhile)
    part = PartialFile.acquire(path)
    assert part is not None
    part.append(b"mine")
    part.close()
    assert (final.read_bytes(), path.read_bytes()) == (b"finished", b"mine")


def test_a_new_file_never_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"somebody else's")
    made = write_unique(tmp_path, "key.pem", b"mine")
    assert (made.name, made.read_bytes(), made.stat().st_mode & 0o777) == ("key (2).pem", b"mine", 0o600)
    assert (tmp_path / "key.pem").read_bytes() == b"somebody else's"
    assert write_unique(tmp_path, "key.pem", b"mine") == made


def test_a_folder_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Cannot write"):
        write_unique(tmp_path / "file", "key.pem", b"mine")
