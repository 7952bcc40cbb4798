"""Tests of the record of uploaded paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealyard.client import source_paths
from sealyard.client.source_paths import SourcePaths


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "state" / "paths.json"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "firmware ☂.bin"
    path.write_bytes(b"firmware")
    return path


def test_recorded_file_is_found(record: Path, file: Path) -> None:
    SourcePaths(record).remember({"aa": file})
    assert SourcePaths(record).find("aa", 8) == file
    assert SourcePaths(record).find("aa", None) == file
    assert SourcePaths(record).find("bb", 8) is None
    assert record.stat().st_mode & 0o777 == 0o600


def test_file_of_other_size_or_type_is_not_found(record: Path, file: Path) -> None:
    paths = SourcePaths(record)
    paths.remember({"aa": file})
    assert paths.find("aa", 9) is None
    file.unlink()
    assert paths.find("aa", 8) is None
    file.mkdir()
    assert paths.find("aa", None) is None


def test_oldest_paths_are_dropped(record: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_paths, "MAX_PATHS", 2)
    paths = SourcePaths(record)
    for digest in ("aa", "bb", "aa", "cc"):
        paths.remember({digest: file})
    assert [paths.find(digest, 8) for digest in ("aa", "bb", "cc")] == [file, None, file]


def test_relative_path_is_recorded_as_absolute(record: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    SourcePaths(record).remember({"aa": Path(file.name)})
    monkeypatch.chdir("/")
    assert SourcePaths(record).find("aa", 8) == file


def test_undecodable_path_is_not_recorded(record: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.bin"))
    SourcePaths(record).remember({"aa": path})
    assert SourcePaths(record).find("aa", None) is None


def test_unreadable_or_damaged_record_finds_nothing(record: Path, file: Path) -> None:
    paths = SourcePaths(record)
    record.mkdir(parents=True)
    paths.remember({"aa": file})
    assert paths.find("aa", 8) is None
    record.rmdir()
    record.write_text("{damaged")
    assert paths.find("aa", 8) is None
    paths.remember({"aa": file})
    assert paths.find("aa", 8) == file
