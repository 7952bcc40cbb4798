"""Tests of the export as JSON lines and as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.audit.export import export_csv, export_jsonl
from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.model.audit import AuditFilter
from tests.support.factories.audit import add, draft, make_log

encodable = st.text(st.characters(exclude_categories=["Cs"]))


def parse_csv(log: AuditReader) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(export_csv(log.all_entries())), newline="")))


def test_jsonl_equals_the_stored_bytes(tmp_path: Path) -> None:
    log = make_log(tmp_path, (3,), uncheckpointed=2)
    stored = (tmp_path / "segment-000000.jsonl").read_bytes()
    assert "".join(export_jsonl(log.all_entries())).encode() == stored


def test_export_with_filter_yields_matches(tmp_path: Path) -> None:
    log = make_log(tmp_path, (6,))
    assert len(list(export_jsonl(log.all_entries(AuditFilter(author="USER:anna"))))) == 2


def test_csv_has_header_and_entry_rows(tmp_path: Path) -> None:
    heading, first, *others = parse_csv(make_log(tmp_path, (3,)))
    assert heading == [
        "seq",
        "timestamp",
        "author",
        "change",
        "resource",
        "message",
        "newValue",
        "code",
        "previous",
        "changes",
    ]
    assert first[:6] == [
        "0",
        "2026-11-23T08:00:00+00:00",
        "USER:anna",
        "CREATED",
        "DEVICE_CONFIG:gateway",
        "entry number 0",
    ]
    assert len(others) == 2


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "＝", "＠"])
def test_csv_formula_is_escaped(tmp_path: Path, start: str) -> None:
    log = AuditLog.open(tmp_path)
    log.append([draft(log, f'{start}HYPERLINK("http://example.com")')])
    assert parse_csv(log)[1][5][0] in "'\\"


@settings(deadline=None)
@given(message=encodable)
def test_csv_text_stays_in_its_field(tmp_path_factory: pytest.TempPathFactory, message: str) -> None:
    log = AuditLog.open(tmp_path_factory.mktemp("csv"))
    entry = draft(log, message or "x")
    (line,) = [*export_csv([entry])][1:]
    assert line.removesuffix("\r\n").isprintable()
    (row,) = csv.reader(io.StringIO(line, newline=""))
    assert len(row) == 10


def test_export_is_lazy(tmp_path: Path) -> None:
    log = AuditLog.open(tmp_path)
    add(log, 3)
    lines = export_jsonl(log.all_entries())
    next(lines)
    add(log, 1)
    assert len(list(lines)) == 3
