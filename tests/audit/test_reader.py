"""Tests of the audit reader: pages, filters and damaged files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.audit import log as log_module
from sealyard.audit import segment_files as files
from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import AuditVerificationError
from tests.support.extent import scale_examples
from tests.support.factories.audit import START, add, make_log

COUNT = 40


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> AuditReader:
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "SEGMENT_ENTRIES", 16)
        make_log(folder, (10, 30), uncheckpointed=COUNT - 30)
    return AuditReader(folder)


def seqs(reader: AuditReader, **options: object) -> list[int]:
    return [entry.seq for entry in reader.entries(**options)]  # type: ignore[arg-type]


def test_sizes_include_uncheckpointed_entries(reader: AuditReader) -> None:
    assert (reader.size, reader.checkpointed_size, reader.uncheckpointed_count) == (COUNT, 30, 10)


def test_empty_log_has_no_entries(tmp_path: Path) -> None:
    empty = AuditReader(tmp_path)
    assert (empty.size, empty.checkpointed_size, empty.entries(), empty.last_checkpoint()) == (0, 0, [], None)


@settings(max_examples=scale_examples(200), deadline=None)
@given(
    after=st.none() | st.integers(-1, COUNT + 2),
    limit=st.integers(0, COUNT + 5),
    newest_first=st.booleans(),
    block=st.sampled_from([1, 7, 100, 1 << 16]),
)
def test_page_matches_its_range(
    reader: AuditReader, after: int | None, limit: int, newest_first: bool, block: int
) -> None:
    all_seqs = range(COUNT - 1, -1, -1) if newest_first else range(COUNT)
    expected = [seq for seq in all_seqs if after is None or (seq < after if newest_first else seq > after)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_BLOCK", block)
        assert seqs(reader, newest_first=newest_first, after_seq=after, limit=limit) == expected[:limit]


def test_pages_cover_the_whole_log(reader: AuditReader) -> None:
    entries: list[int] = []
    while page := seqs(reader, after_seq=entries[-1] if entries else None, limit=7):
        entries += page
    assert entries == list(range(COUNT - 1, -1, -1))


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (AuditFilter(resource_type="DEVICE_CONFIG"), [seq for seq in range(COUNT) if seq % 4 == 0]),
        (AuditFilter(resource="TASK:0005"), [5]),
        (AuditFilter(author="USER:ben"), [seq for seq in range(COUNT) if seq % 3 == 1]),
        (AuditFilter(change=AuditAction.APPROVED), [seq for seq in range(COUNT) if seq % 2]),
        (AuditFilter(since=START + timedelta(minutes=38)), [38, 39]),
        (AuditFilter(until=START + timedelta(minutes=2)), [0, 1]),
        (AuditFilter(text="ENTRY Number 3"), [3, *range(30, 40)]),
        (AuditFilter(text='"number":7'), [7]),
        (AuditFilter(text="approved", author="USER:anna"), [seq for seq in range(COUNT) if seq % 6 == 3]),
        (AuditFilter(text="nowhere"), []),
    ],
)
def test_filter_returns_matching_entries(reader: AuditReader, match: AuditFilter, expected: list[int]) -> None:
    assert seqs(reader, filters=match, newest_first=False) == expected
    assert seqs(reader, filters=match) == expected[::-1]
    assert [entry.seq for entry in reader.all_entries(match)] == expected


def test_newest_page_reads_only_file_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(AuditLog.open(tmp_path), 3000)
    path = tmp_path / "segment-000000.jsonl"
    content = path.read_bytes()
    half = content.index(b"\n", len(content) // 2)
    path.write_bytes(b"x" * half + content[half:])
    assert seqs(AuditReader(tmp_path), limit=100) == list(range(2999, 2899, -1))


def test_reader_follows_the_log(tmp_path: Path) -> None:
    log, reader = AuditLog.open(tmp_path), AuditReader(tmp_path)
    add(log, 2)
    assert reader.size == 2
    add(log, 1)
    assert seqs(reader) == [2, 1, 0]


def test_invalid_line_reports_its_file(tmp_path: Path) -> None:
    make_log(tmp_path, (3,))
    (tmp_path / "segment-000000.jsonl").write_bytes(b"[]\n")
    with pytest.raises(AuditVerificationError, match=r"segment-000000\.jsonl"):
        AuditReader(tmp_path).entries()


def test_missing_segment_reports_its_file(tmp_path: Path) -> None:
    make_log(tmp_path, (3,))
    (tmp_path / "segment-000000.jsonl").rename(tmp_path / "segment-000001.jsonl")
    with pytest.raises(AuditVerificationError, match=r"segment-000000\.jsonl of the audit log is missing"):
        AuditReader(tmp_path).entries()
