"""Test that every single-byte change of the audit log is noticed: all of a small one, a sample of a large one."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from sealyard.audit.checkpoint import key_fingerprint
from sealyard.audit.reader import AuditReader
from sealyard.audit.segment_files import CHECKPOINTS, PUBLIC_KEY, segment_paths
from sealyard.audit.verify import verify_log
from sealyard.model.errors import AuditVerificationError
from tests.support.extent import choose_count
from tests.support.factories.audit import make_log, public_pem
from tests.support.mutations import iter_byte_changes, replace_byte

RANDOM = Random(20261129)
VALUES = choose_count(share=1, full=255)
"""Other values of each byte of a small log."""

SAMPLES = choose_count(share=20, full=1000)
LARGE_SIZE = 2000


def require_refused(folder: Path, path: Path, changed: bytes, note: str | None) -> None:
    path.write_bytes(changed)
    with pytest.raises(AuditVerificationError):
        verify_log(AuditReader(folder), checkpoint=note)


@pytest.mark.timeout(3600)
def test_each_byte_of_small_segment(tmp_path: Path) -> None:
    make_log(tmp_path, (2, 4))
    (path,) = segment_paths(tmp_path)
    for _, changed in iter_byte_changes(path.read_bytes(), VALUES, RANDOM):
        require_refused(tmp_path, path, changed, None)


@pytest.mark.timeout(3600)
def test_each_byte_of_checkpoints(tmp_path: Path) -> None:
    """A change that makes the last line incomplete looks like a crash; the kept checkpoint shows what is missing."""
    note = make_log(tmp_path, (2, 4)).last_note()
    path = tmp_path / CHECKPOINTS
    content = path.read_bytes()
    for position, changed in iter_byte_changes(content, VALUES, RANDOM):
        if position < len(content) - 1:
            require_refused(tmp_path, path, changed, note)


@pytest.mark.timeout(3600)
def test_each_byte_of_public_key(tmp_path: Path) -> None:
    """A change is refused, or leaves the same key, as a blank at the end of a line does."""
    make_log(tmp_path, (2, 4))
    path = tmp_path / PUBLIC_KEY
    for _, changed in iter_byte_changes(path.read_bytes(), VALUES, RANDOM):
        path.write_bytes(changed)
        try:
            verify_log(AuditReader(tmp_path))
        except AuditVerificationError:
            continue
        assert key_fingerprint(changed) == key_fingerprint(public_pem())


@pytest.mark.timeout(3600)
def test_sampled_bytes_of_large_log(tmp_path: Path) -> None:
    note = make_log(tmp_path, tuple(range(100, LARGE_SIZE + 1, 100))).last_note()
    paths = (*segment_paths(tmp_path), tmp_path / CHECKPOINTS)
    contents = {path: path.read_bytes() for path in paths}
    for _ in range(SAMPLES):
        path = RANDOM.choice(paths)
        content = contents[path]
        position = RANDOM.randrange(len(content) - 1)
        require_refused(
            tmp_path, path, replace_byte(content, position, content[position] ^ RANDOM.randrange(1, 256)), note
        )
        path.write_bytes(content)
