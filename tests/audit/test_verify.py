"""Tests of the verification of tampered logs: each change is detected and the affected entry is reported."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.audit import log as log_module
from sealyard.audit import verify as verify_module
from sealyard.audit.checkpoint import checkpoint_body, format_note, key_fingerprint
from sealyard.audit.encoding import encode_entry
from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.audit.verify import verify_log
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import AuditVerificationError
from tests.support.extent import scale_examples
from tests.support.factories.audit import KEY, ORIGIN, START, add, add_checkpoint, make_log, public_pem, tamper_lines

SEGMENT = "segment-000000.jsonl"
NOTES = "checkpoints.txt"
ENTRIES = 9
CHECKPOINTED = 7
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"another key".ljust(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_log(tmp_path, (4, CHECKPOINTED), uncheckpointed=ENTRIES - CHECKPOINTED)
    return tmp_path


def verify_and_get_seq(folder: Path, checkpoint: str | None = None) -> int | None:
    with pytest.raises(AuditVerificationError) as caught:
        verify_log(AuditReader(folder), checkpoint=checkpoint)
    return caught.value.seq


def rewrite(folder: Path, seq: int, **fields: object) -> None:
    """Change fields of one entry, and encode it as the log does."""

    def change(lines: list[bytes]) -> list[bytes]:
        entry = msgspec.json.decode(lines[seq], type=AuditEntry)
        lines[seq] = encode_entry(msgspec.structs.replace(entry, **fields)) + b"\n"
        return lines

    tamper_lines(folder / SEGMENT, change)


def test_intact_log_is_reported(folder: Path) -> None:
    report = verify_log(AuditReader(folder))
    assert (report.origin, report.size, report.checkpointed_size, report.uncheckpointed_count) == (ORIGIN, 9, 7, 2)
    assert report.root == AuditLog.open(folder).root
    assert report.checkpoints_checked == 2
    assert report.key_fingerprint == key_fingerprint(public_pem())
    assert report.external_checkpoint_size is None


def test_report_names_compared_checkpoint(folder: Path) -> None:
    first_note = "".join((folder / NOTES).read_text().splitlines(keepends=True)[:5])
    assert verify_log(AuditReader(folder), checkpoint=first_note).external_checkpoint_size == 4


def test_empty_folder_is_empty_log(tmp_path: Path) -> None:
    report = verify_log(AuditReader(tmp_path))
    assert (report.size, report.checkpointed_size, report.checkpoints_checked, report.key_fingerprint) == (0, 0, 0, "")


def test_checkpoint_of_empty_log_is_valid(tmp_path: Path) -> None:
    make_log(tmp_path, (0, 2))
    assert verify_log(AuditReader(tmp_path)).checkpoints_checked == 2


@pytest.mark.parametrize("removed", [(NOTES,), (NOTES, "audit-key.pem"), (NOTES, SEGMENT)])
def test_log_without_checkpoints_is_rejected(folder: Path, removed: tuple[str, ...]) -> None:
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(AuditVerificationError, match="checkpoints of the audit log were removed"):
        verify_log(AuditReader(folder))


def test_log_with_empty_file_of_checkpoints_is_rejected(folder: Path) -> None:
    (folder / NOTES).write_bytes(b"")
    with pytest.raises(AuditVerificationError, match="checkpoints of the audit log were removed"):
        verify_log(AuditReader(folder))


def test_progress_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "_PROGRESS_EVERY", 4)
    reports: list[int] = []
    verify_log(AuditReader(folder), progress=reports.append)
    assert reports == [4, 8]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", START - timedelta(seconds=1)),
        ("author", "USER:mallory"),
        ("change", "DELETED"),
        ("resource", "TASK:other"),
        ("message", "nothing happened"),
        ("new_value", {"number": 1000}),
        ("code", "not-allowed"),
    ],
)
@pytest.mark.parametrize("seq", [0, 2, CHECKPOINTED - 2])
def test_changed_field_reports_its_entry(folder: Path, field: str, value: object, seq: int) -> None:
    rewrite(folder, seq, **{field: value})
    assert verify_and_get_seq(folder) == seq


def test_changed_previous_hash_reports_its_entry(folder: Path) -> None:
    rewrite(folder, 2, previous="ab" * 32)
    assert verify_and_get_seq(folder) == 2


@pytest.mark.parametrize("trailing", [0, 1, 2])
def test_changed_entry_before_checkpoint_is_reported(tmp_path: Path, trailing: int) -> None:
    make_log(tmp_path, (CHECKPOINTED - 1, CHECKPOINTED), uncheckpointed=trailing)
    rewrite(tmp_path, CHECKPOINTED - 1, message="nothing happened")
    assert verify_and_get_seq(tmp_path) == CHECKPOINTED - 1


@pytest.mark.parametrize("trailing", [1, 2])
def test_changed_previous_hash_after_checkpoint_is_reported(tmp_path: Path, trailing: int) -> None:
    make_log(tmp_path, (CHECKPOINTED,), uncheckpointed=trailing)
    rewrite(tmp_path, CHECKPOINTED, previous="ab" * 32)
    assert verify_and_get_seq(tmp_path) == CHECKPOINTED


def test_changed_last_checkpointed_entry_is_reported(folder: Path) -> None:
    rewrite(folder, CHECKPOINTED - 1, message="nothing happened")
    assert verify_and_get_seq(folder) == CHECKPOINTED - 1


def test_changed_newest_entry_is_reported(tmp_path: Path) -> None:
    make_log(tmp_path, (3, 4))
    rewrite(tmp_path, 3, message="nothing happened")
    assert verify_and_get_seq(tmp_path) == 3


@settings(max_examples=scale_examples(150), deadline=None)
@given(st.data())
def test_flipped_bit_in_entries_is_detected(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flip")
    make_log(folder, (4, CHECKPOINTED))
    path = folder / SEGMENT
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    seq = content[:position].count(b"\n")
    path.write_bytes(content)
    reported = verify_and_get_seq(folder)
    assert reported is not None
    # The chain identifies every entry of a block except the last; the checkpoint only identifies the block.
    assert reported in (seq, seq + 1, 0, 4)


@settings(max_examples=scale_examples(100), deadline=None)
@given(st.data())
def test_flipped_bit_in_checkpoints_is_detected(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flip")
    external = make_log(folder, (4, CHECKPOINTED)).last_note()
    path = folder / NOTES
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 2))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(AuditVerificationError):
        verify_log(AuditReader(folder), checkpoint=external)


def test_non_canonical_entry_is_reported(folder: Path) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [lines[0].replace(b'","', b'", "', 1), *lines[1:]])
    assert verify_and_get_seq(folder) == 0


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"seq":"2"}', b"[" * 100_000, b'{"seq":2e400}']
)
def test_invalid_line_is_reported(folder: Path, line: bytes) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [*lines[:2], line + b"\n", *lines[3:]])
    assert verify_and_get_seq(folder) == 2


@pytest.mark.parametrize("seq", range(ENTRIES - 1))
def test_removed_entry_is_reported(folder: Path, seq: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: lines[:seq] + lines[seq + 1 :])
    assert verify_and_get_seq(folder) == seq


@pytest.mark.parametrize("seq", range(ENTRIES - 1))
def test_swapped_entries_are_reported(folder: Path, seq: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [*lines[:seq], lines[seq + 1], lines[seq], *lines[seq + 2 :]])
    assert verify_and_get_seq(folder) == seq


@pytest.mark.parametrize("seq", range(ENTRIES))
def test_duplicated_entry_is_reported(folder: Path, seq: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [*lines[: seq + 1], lines[seq], *lines[seq + 1 :]])
    assert verify_and_get_seq(folder) == seq + 1


@pytest.mark.parametrize("length", range(CHECKPOINTED))
def test_truncation_below_checkpoint_is_reported(folder: Path, length: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: lines[:length])
    assert verify_and_get_seq(folder) == length


def test_truncation_after_checkpoint_changes_size_only(folder: Path) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: lines[:CHECKPOINTED])
    assert verify_log(AuditReader(folder)).uncheckpointed_count == 0


def roll_back(folder: Path) -> None:
    """Restore entries and checkpoints to the state at the first checkpoint."""
    tamper_lines(folder / SEGMENT, lambda lines: lines[:4])
    tamper_lines(folder / NOTES, lambda lines: lines[:5])


def test_external_checkpoint_detects_rollback(folder: Path) -> None:
    external = (folder / NOTES).read_text().splitlines(keepends=True)[5:]
    roll_back(folder)
    assert verify_log(AuditReader(folder)).size == 4
    assert verify_and_get_seq(folder, "".join(external)) == 4


def test_external_checkpoint_matches_grown_log(folder: Path) -> None:
    external = "".join((folder / NOTES).read_text().splitlines(keepends=True)[:5])
    assert verify_log(AuditReader(folder), checkpoint=external).checkpoints_checked == 3


def rebuild(folder: Path, key: Ed25519PrivateKey | None) -> None:
    """Write another valid history, with checkpoints signed by ``key``, or with the old ones if ``key`` is None."""
    (folder / SEGMENT).unlink()
    notes = folder / NOTES
    old_notes = notes.read_bytes()
    notes.unlink()
    log = AuditLog.open(folder)
    add(log, 4, "another history")
    if key is not None:
        (folder / "audit-key.pem").write_bytes(public_pem(key))
        add_checkpoint(log, key)
    add(log, 5, "another history")
    if key is None:
        notes.write_bytes(old_notes)


def test_old_checkpoints_detect_rewritten_history(folder: Path) -> None:
    rebuild(folder, None)
    assert verify_and_get_seq(folder) == 0


def test_checkpoint_of_another_key_is_rejected(folder: Path) -> None:
    rebuild(folder, OTHER_KEY)
    (folder / "audit-key.pem").write_bytes(public_pem())
    with pytest.raises(AuditVerificationError, match="not signed by the audit key"):
        verify_log(AuditReader(folder))


def test_external_checkpoint_detects_replaced_key(folder: Path) -> None:
    external = "".join((folder / NOTES).read_text().splitlines(keepends=True)[:5])
    rebuild(folder, OTHER_KEY)
    assert verify_log(AuditReader(folder)).key_fingerprint != key_fingerprint(public_pem())
    with pytest.raises(AuditVerificationError, match="kept outside the workspace does not belong to this log"):
        verify_log(AuditReader(folder), checkpoint=external)


def test_error_of_external_checkpoint_names_existing_entries(folder: Path) -> None:
    """The entries match an internal checkpoint of the same size, so that none after it can be suspected."""
    external = "".join((folder / NOTES).read_text().splitlines(keepends=True)[:5])
    rebuild(folder, KEY)
    with pytest.raises(AuditVerificationError, match="Entries 0 to 3 do not match the checkpoint of size 4"):
        verify_log(AuditReader(folder), checkpoint=external)


def test_external_checkpoint_detects_rewritten_history(folder: Path) -> None:
    external = "".join((folder / NOTES).read_text().splitlines(keepends=True)[5:])
    rebuild(folder, KEY)
    assert verify_log(AuditReader(folder)).checkpointed_size == 4
    assert verify_and_get_seq(folder, external) == 4


def test_checkpoint_of_another_log_is_rejected(folder: Path, tmp_path: Path) -> None:
    other = AuditLog.open(tmp_path / "other")
    checkpoint = msgspec.structs.replace(other.checkpoint(ORIGIN), origin="sealyard/other")
    note = format_note(checkpoint, public_pem(), KEY.sign(checkpoint_body(checkpoint)))
    with pytest.raises(AuditVerificationError, match="different logs"):
        verify_log(AuditReader(folder), checkpoint=note)


@pytest.mark.parametrize("note", ["", "not a note", "a\n1\nb\n\n— c d\n"])
def test_malformed_external_checkpoint_is_rejected(folder: Path, note: str) -> None:
    with pytest.raises(AuditVerificationError, match="kept outside"):
        verify_log(AuditReader(folder), checkpoint=note)


def test_missing_audit_key_is_reported(folder: Path) -> None:
    (folder / "audit-key.pem").unlink()
    with pytest.raises(AuditVerificationError, match=r"audit-key\.pem is missing"):
        verify_log(AuditReader(folder))


def test_missing_key_with_external_checkpoint_is_reported(folder: Path) -> None:
    external = (folder / NOTES).read_text()
    (folder / NOTES).unlink()
    (folder / "audit-key.pem").unlink()
    with pytest.raises(AuditVerificationError, match=r"audit-key\.pem is missing"):
        verify_log(AuditReader(folder), checkpoint="".join(external.splitlines(keepends=True)[:5]))


@pytest.mark.parametrize("line", range(4))
def test_missing_checkpoint_line_is_reported(folder: Path, line: int) -> None:
    tamper_lines(folder / NOTES, lambda lines: lines[: 5 + line] + lines[6 + line :])
    with pytest.raises(AuditVerificationError, match="incomplete checkpoint"):
        verify_log(AuditReader(folder))


@pytest.mark.parametrize("lines_left", range(5))
def test_torn_checkpoint_is_ignored(folder: Path, lines_left: int) -> None:
    tamper_lines(folder / NOTES, lambda lines: [*lines[: 5 + lines_left], b"half a li"])
    assert verify_log(AuditReader(folder)).checkpointed_size == 4


def test_checkpoints_out_of_order_are_rejected(folder: Path) -> None:
    tamper_lines(folder / NOTES, lambda lines: lines[5:] + lines[:5])
    with pytest.raises(AuditVerificationError, match="out of order"):
        verify_log(AuditReader(folder))


def make_segments(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "SEGMENT_ENTRIES", 3)
        make_log(folder, (8,), uncheckpointed=1)


DAMAGES: list[tuple[Callable[[Path], object], int | None]] = [
    (lambda folder: (folder / "segment-000001.jsonl").unlink(), None),
    (lambda folder: (folder / "segment-000002.jsonl").unlink(), 6),
    (lambda folder: (folder / "segment-000001.jsonl").write_bytes(b""), 3),
    (lambda folder: tamper_lines(folder / "segment-000001.jsonl", lambda lines: [*lines, b'{"half']), None),
    (lambda folder: tamper_lines(folder / "segment-000000.jsonl", lambda lines: lines[:-1]), 2),
]


@pytest.mark.parametrize(("damage", "seq"), DAMAGES)
def test_damaged_segment_is_reported(tmp_path: Path, damage: Callable[[Path], object], seq: int | None) -> None:
    make_segments(tmp_path)
    assert verify_log(AuditReader(tmp_path)).size == 9
    damage(tmp_path)
    assert verify_and_get_seq(tmp_path) == seq


def test_error_message_contains_file_and_line(tmp_path: Path) -> None:
    make_segments(tmp_path)
    tamper_lines(tmp_path / "segment-000001.jsonl", lambda lines: [lines[0], b"{}\n", lines[2]])
    with pytest.raises(AuditVerificationError, match=r"Entry 4 cannot be read \(segment-000001\.jsonl, line 2\)"):
        verify_log(AuditReader(tmp_path))
