"""Tests of extraction: all files or none, under safe names, and without overwriting files."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.containers import ustar
from sealyard.containers.metadata_files import metadata_file_names
from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.pipeline import Progress
from sealyard.fs.exclusive_files import ExclusiveFileSet
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import ContainerError, InvalidInputError, StorageError
from tests.support.factories.containers import CBC, ZeroPaddingAsPkcs7, certificate, cipher_for, now, pack

FORMAT = SE1Format(now)
CERTIFICATE = certificate(KeyType.ED25519)
METADATA = [("info.json", b"{}"), ("../evil", b"!")]
CONTAINER = pack([b"first", b"second"], METADATA)


def extract_into(
    folder: Path, data: bytes = CONTAINER, *, split_metadata: bool = False, progress: Progress | None = None
) -> tuple[Path, ...]:
    return FORMAT.extract(
        io.BytesIO(data), CERTIFICATE, cipher_for(CBC), folder, split_metadata=split_metadata, progress=progress
    )


def test_metadata_bundle_is_one_file(tmp_path: Path) -> None:
    paths = extract_into(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["segment-0.bin", "segment-1.bin", "metadata.bin"]
    assert paths[2].read_bytes() == ustar.pack(METADATA)


def test_split_metadata_replaces_unsafe_names(tmp_path: Path) -> None:
    paths = extract_into(tmp_path, split_metadata=True)
    assert [path.name for path in paths[2:]] == ["info.json", "metadata-001.bin"]
    assert [path.read_bytes() for path in paths[2:]] == [b"{}", b"!"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_container_without_metadata_has_no_file(tmp_path: Path) -> None:
    assert [path.name for path in extract_into(tmp_path, pack([b"x"]))] == ["segment-0.bin"]


def test_extracted_files_are_private(tmp_path: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in extract_into(tmp_path)} == {0o600}


def test_progress_counts_both_passes(tmp_path: Path) -> None:
    steps: list[int] = []
    extract_into(tmp_path, progress=steps.append)
    assert sum(steps) == 2 * 64


@pytest.mark.parametrize("name", ["segment-0.bin", "segment-1.bin", "metadata.bin"])
def test_existing_file_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match=name):
        extract_into(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"mine"


def test_file_created_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with ExclusiveFileSet(tmp_path, ["a", "b"]) as files:
        for name in ("a", "b"):
            files.create(name).close()
        (tmp_path / "b").write_bytes(b"mine")
        with pytest.raises(InvalidInputError, match=r"^b already exists"):
            files.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_bytes() == b"mine"


def test_changed_container_extracts_nothing(tmp_path: Path) -> None:
    changed = bytearray(CONTAINER)
    changed[-65] ^= 1
    with pytest.raises(ContainerError, match="Segment 1"):
        extract_into(tmp_path, bytes(changed))
    assert list(tmp_path.iterdir()) == []


def test_wrong_padding_extracts_nothing(tmp_path: Path) -> None:
    badly_padded = pack([b"x" * 17], cipher=ZeroPaddingAsPkcs7())
    with pytest.raises(ContainerError, match="padding") as caught:
        extract_into(tmp_path, badly_padded)
    assert caught.value.part == "segment 0"
    assert list(tmp_path.iterdir()) == []


def test_cancelled_extraction_leaves_no_files(tmp_path: Path) -> None:
    steps: list[int] = []

    def stop(count: int) -> None:
        steps.append(count)
        if sum(steps) > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_into(tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_folder_creation_failure_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        extract_into(tmp_path / "file" / "folder")


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=9)), min_size=2))
def test_metadata_names_are_safe_and_unique(files: list[tuple[str, bytes]]) -> None:
    named = metadata_file_names(ustar.pack(files), split=True)
    names = [name for name, _ in named]
    assert [content for _, content in named] == [content for _, content in files]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert name.isprintable()
        assert "/" not in name
        assert not name.startswith((".", "segment-"))
        assert 0 < len(name.encode()) <= 255


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "c:x", ".bashrc", "segment-0.bin", "metadata-001.bin", "x\n", " x", "ß" * 128],
)
def test_unsafe_name_is_replaced(name: str) -> None:
    assert metadata_file_names(ustar.pack([(name, b"1"), ("ok", b"2")]), split=True)[0][0] == "metadata-000.bin"


def test_names_equal_ignoring_case_are_replaced() -> None:
    named = metadata_file_names(ustar.pack([("A", b"1"), ("a", b"2"), ("b", b"3")]), split=True)
    assert [name for name, _ in named] == ["metadata-000.bin", "metadata-001.bin", "b"]


def test_single_metadata_file_is_not_split() -> None:
    assert metadata_file_names(b"text", split=True) == (("metadata.bin", b"text"),)
