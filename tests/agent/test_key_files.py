"""Test which key files are copied between hosts, and that newer ones are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.agent.key_files import MAX_FILE_BYTES, KeyFile, KeyFileRow, KeyFiles, is_key_file
from sealyard.model.errors import StorageError

INFO, VERSION = "local/seal/key.json", "local/seal/v1.key"
CHECK = "local/.master-key-check.json"
RECORD = f"registered/{'a' * 64}.json"


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return open_files(tmp_path)


def open_files(folder: Path) -> KeyFiles:
    return KeyFiles(folder / "keys", folder / "worker" / "key-files.json")


def write(folder: Path, path: str, content: bytes) -> None:
    target = folder / "keys" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


@pytest.mark.parametrize("path", [INFO, VERSION, CHECK, RECORD, "local/a.b-c_d/v999999.key"])
def test_files_of_keys_are_copied(path: str) -> None:
    assert is_key_file(path)


@pytest.mark.parametrize(
    "path",
    [
        "keyring.json",
        "local/keyring.json",
        "../keyring.json",
        "local/../keyring.json",
        "local/../v1.key",
        "local/.../key.json",
        "/local/seal/key.json",
        "local/seal/../../keyring.json",
        "local//key.json",
        "local/seal/v0.key",
        "local/seal/v1.key\n",
        "local/seal/v1.key\0",
        "local/Seal/key.json",
        "local/.lock",
        "audit/audit/key.json",
        "registered/.lock",
        "links",
        "",
    ],
)
def test_other_files_are_not_copied(path: str) -> None:
    assert not is_key_file(path)


@given(st.text(alphabet="./\\aloc1vkeyjsn\0\n-_A", max_size=40) | st.builds("local/{}/key.json".format, st.text()))
def test_accepted_path_stays_inside_of_the_folder(path: str) -> None:
    if is_key_file(path):
        resolved = Path("/keys", path).resolve()
        assert resolved.parts[:2] == ("/", "keys")
        assert resolved.name != "keyring.json"
        assert ".." not in Path(path).parts


def test_invalid_rows_are_ignored(files: KeyFiles, tmp_path: Path) -> None:
    rows = [
        KeyFileRow(1, "keyring.json", b"x"),
        KeyFileRow(2, "local/../../outside", b"x"),
        KeyFileRow(3, INFO, bytes(MAX_FILE_BYTES + 1)),
        KeyFileRow(4, VERSION, b"key"),
    ]
    assert set(files.write(rows)) == {"keyring.json", "local/../../outside", INFO}
    assert [path.name for path in (tmp_path / "keys").rglob("*") if path.is_file()] == ["v1.key"]


def test_older_row_does_not_replace_a_newer_file(files: KeyFiles, tmp_path: Path) -> None:
    files.write([KeyFileRow(5, INFO, b"new")])
    files.write([KeyFileRow(4, INFO, b"old")])
    open_files(tmp_path).write([KeyFileRow(5, INFO, b"another")])
    assert (tmp_path / "keys" / INFO).read_bytes() == b"new"


def test_local_change_is_published_and_kept(files: KeyFiles, tmp_path: Path) -> None:
    files.write([KeyFileRow(5, INFO, b"one version")])
    write(tmp_path, INFO, b"two versions")
    files.write([KeyFileRow(5, INFO, b"one version")])
    assert files.find_changed() == (KeyFile(INFO, b"two versions"),)
    files.mark_shared([KeyFileRow(6, INFO, b"two versions")])
    assert files.find_changed() == ()
    assert open_files(tmp_path).find_changed() == ()


def test_versions_are_published_before_the_file_that_lists_them(files: KeyFiles, tmp_path: Path) -> None:
    for path in (INFO, VERSION, CHECK, RECORD):
        write(tmp_path, path, b"content")
    write(tmp_path, "keyring.json", b"the master key")
    assert [file.path for file in files.find_changed()] == [CHECK, VERSION, RECORD, INFO]


def test_link_is_not_published(files: KeyFiles, tmp_path: Path) -> None:
    write(tmp_path, "keyring.json", b"the master key")
    (tmp_path / "keys" / "local" / "seal").mkdir(parents=True)
    (tmp_path / "keys" / VERSION).symlink_to(tmp_path / "keys" / "keyring.json")
    assert files.find_changed() == ()


def test_existing_check_value_is_kept(files: KeyFiles, tmp_path: Path) -> None:
    write(tmp_path, CHECK, b"own")
    files.write([KeyFileRow(1, CHECK, b"wrong")])
    assert (tmp_path / "keys" / CHECK).read_bytes() == b"own"


def test_damaged_record_is_reported(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "key-files.json").write_bytes(b"{")
    with pytest.raises(StorageError, match="damaged"):
        open_files(tmp_path)
