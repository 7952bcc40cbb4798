"""Tests of private files and folders: modes and error handling."""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.fs.private import make_private_dir, open_private_append


def test_private_dir_restricts_missing_parents_too(tmp_path: Path) -> None:
    make_private_dir(tmp_path / "outer" / "inner")
    make_private_dir(tmp_path / "outer" / "inner")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")} == {0o700}


def test_private_append_keeps_existing_content(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for line in (b"one\n", b"two\n"):
        fd = open_private_append(path)
        os.write(fd, line)
        os.close(fd)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one\ntwo\n", 0o600)
