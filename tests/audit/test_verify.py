"""Every way to tamper with a log, and the entry that is named for it."""

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
from sealyard.audit.verify import verify_log
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import AuditVerificationError
from tests.support.factories.audit import KEY, ORIGIN, START, add, add_checkpoint, make_log, public_pem, tamper_lines

SEGMENT = "segment-000000.jsonl"
NOTES = "checkpoints.txt"
ENTRIES = 9
SEALED = 7
STRANGER = Ed25519PrivateKey.from_private_bytes(b"a stranger's key".ljust(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_log(tmp_path, (4, SEALED), unsealed=ENTRIES - SEALED)
    return tmp_path


def first_wrong(folder: Path, checkpoint: str | None = None) -> int | None:
    with pytest.raises(AuditVerificationError) as caught:
        verify_log(folder, checkpoint=checkpoint)
    return caught.value.seq


def rewrite(folder: Path, seq: int, **fields: object) -> None:
    """Changes fields of one entry, and writes it as the log would."""

    def change(lines: list[bytes]) -> list[bytes]:
        entry = msgspec.json.decode(lines[seq], type=AuditEntry)
        lines[seq] = encode_entry(msgspec.structs.replace(entry, **fields)) + b"\n"
        return lines

    tamper_lines(folder / SEGMENT, change)


def test_a_whole_log_is_reported_with_what_is_sealed(folder: Path) -> None:
    report = verify_log(folder)
    assert (report.origin, report.size, report.checkpointed_size, report.uncheckpointed_count) == (ORIGIN, 9, 7, 2)
    assert report.root == AuditLog.open(folder).root
    assert report.checkpoints_checked == 2
    assert report.key_fingerprint == key_fingerprint(public_pem())


def test_an_empty_folder_is_an_empty_log(tmp_path: Path) -> None:
    report = verify_log(tmp_path)
    assert (report.size, report.checkpointed_size, report.checkpoints_checked, report.key_fingerprint) == (0, 0, 0, "")


def test_an_empty_log_can_be_sealed(tmp_path: Path) -> None:
    make_log(tmp_path, (0, 2))
    assert verify_log(tmp_path).checkpoints_checked == 2


def test_a_log_without_checkpoints_is_reported_as_not_sealed(tmp_path: Path) -> None:
    make_log(tmp_path, (), unsealed=3)
    assert (verify_log(tmp_path).checkpointed_size, verify_log(tmp_path).uncheckpointed_count) == (0, 3)


def test_progress_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "_PROGRESS_EVERY", 4)
    told: list[int] = []
    verify_log(folder, progress=told.append)
    assert told == [4, 8]


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
@pytest.mark.parametrize("seq", [0, 2, SEALED - 2])
def test_changing_any_field_of_an_entry_names_it(folder: Path, field: str, value: object, seq: int) -> None:
    rewrite(folder, seq, **{field: value})
    assert first_wrong(folder) == seq


def test_changing_a_link_names_its_entry(folder: Path) -> None:
    rewrite(folder, 2, previous="ab" * 32)
    assert first_wrong(folder) == 2


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_changing_the_entry_before_a_checkpoint_names_it(tmp_path: Path, behind: int) -> None:
    make_log(tmp_path, (SEALED - 1, SEALED), unsealed=behind)
    rewrite(tmp_path, SEALED - 1, message="nothing happened")
    assert first_wrong(tmp_path) == SEALED - 1


@pytest.mark.parametrize("behind", [1, 2])
def test_changing_the_link_behind_a_checkpoint_names_its_entry(tmp_path: Path, behind: int) -> None:
    make_log(tmp_path, (SEALED,), unsealed=behind)
    rewrite(tmp_path, SEALED, previous="ab" * 32)
    assert first_wrong(tmp_path) == SEALED


def test_changing_the_last_sealed_entry_is_found_through_the_one_behind_it(folder: Path) -> None:
    rewrite(folder, SEALED - 1, message="nothing happened")
    assert first_wrong(folder) == SEALED - 1


def test_changing_the_newest_entry_is_found_by_the_checkpoint(tmp_path: Path) -> None:
    make_log(tmp_path, (3, 4))
    rewrite(tmp_path, 3, message="nothing happened")
    assert first_wrong(tmp_path) == 3


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipping_any_bit_of_the_sealed_entries_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    make_log(folder, (4, SEALED))
    path = folder / SEGMENT
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    seq = whole[:position].count(b"\n")
    path.write_bytes(whole)
    named = first_wrong(folder)
    assert named is not None
    # Before the last entry of a block the chain names it exactly; else the checkpoint names the block.
    assert named in (seq, seq + 1, 0, 4)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_flipping_any_bit_of_the_checkpoints_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    outside = make_log(folder, (4, SEALED)).last_note()
    path = folder / NOTES
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 2))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    with pytest.raises(AuditVerificationError):
        verify_log(folder, checkpoint=outside)


def test_another_way_to_write_the_same_entry_is_found(folder: Path) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [lines[0].replace(b'","', b'", "', 1), *lines[1:]])
    assert first_wrong(folder) == 0


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"seq":"2"}', b"[" * 100_000, b'{"seq":2e400}']
)
def test_a_line_that_is_no_entry_is_named(folder: Path, line: bytes) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [*lines[:2], line + b"\n", *lines[3:]])
    assert first_wrong(folder) == 2


@pytest.mark.parametrize("seq", range(ENTRIES - 1))
def test_a_dropped_entry_is_named(folder: Path, seq: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: lines[:seq] + lines[seq + 1 :])
    assert first_wrong(folder) == seq


@pytest.mark.parametrize("seq", range(ENTRIES - 1))
def test_two_entries_in_each_others_place_are_named(folder: Path, seq: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [*lines[:seq], lines[seq + 1], lines[seq], *lines[seq + 2 :]])
    assert first_wrong(folder) == seq


@pytest.mark.parametrize("seq", range(ENTRIES))
def test_an_entry_twice_is_named(folder: Path, seq: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [*lines[: seq + 1], lines[seq], *lines[seq + 1 :]])
    assert first_wrong(folder) == seq + 1


@pytest.mark.parametrize("length", range(SEALED))
def test_a_tail_cut_below_a_checkpoint_is_found(folder: Path, length: int) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: lines[:length])
    assert first_wrong(folder) == length


def test_a_cut_among_what_is_not_sealed_shows_in_the_size_only(folder: Path) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: lines[:SEALED])
    assert verify_log(folder).uncheckpointed_count == 0


def put_back(folder: Path) -> None:
    """To the state at the first checkpoint, entries and checkpoints alike."""
    tamper_lines(folder / SEGMENT, lambda lines: lines[:4])
    tamper_lines(folder / NOTES, lambda lines: lines[:5])


def test_a_folder_put_back_to_an_older_state_is_found_by_a_checkpoint_kept_outside(folder: Path) -> None:
    outside = (folder / NOTES).read_text().splitlines(keepends=True)[5:]
    put_back(folder)
    assert verify_log(folder).size == 4
    assert first_wrong(folder, "".join(outside)) == 4


def test_a_checkpoint_kept_outside_fits_a_log_that_has_grown(folder: Path) -> None:
    outside = "".join((folder / NOTES).read_text().splitlines(keepends=True)[:5])
    assert verify_log(folder, checkpoint=outside).checkpoints_checked == 3


def rebuild(folder: Path, key: Ed25519PrivateKey | None) -> None:
    """Another history with whole links; its checkpoints signed by ``key``, or the old ones left there."""
    (folder / SEGMENT).unlink()
    notes = folder / NOTES
    kept = notes.read_bytes()
    notes.unlink()
    log = AuditLog.open(folder)
    add(log, 4, "another history")
    if key is not None:
        (folder / "audit-key.pem").write_bytes(public_pem(key))
        add_checkpoint(log, key)
    add(log, 5, "another history")
    if key is None:
        notes.write_bytes(kept)


def test_a_history_written_anew_is_found_by_the_old_checkpoints(folder: Path) -> None:
    rebuild(folder, None)
    assert first_wrong(folder) == 0


def test_a_history_sealed_anew_without_the_audit_key_is_found(folder: Path) -> None:
    rebuild(folder, STRANGER)
    (folder / "audit-key.pem").write_bytes(public_pem())
    with pytest.raises(AuditVerificationError, match="not signed by the audit key"):
        verify_log(folder)


def test_a_history_sealed_anew_with_another_key_is_found_by_a_checkpoint_kept_outside(folder: Path) -> None:
    outside = "".join((folder / NOTES).read_text().splitlines(keepends=True)[:5])
    rebuild(folder, STRANGER)
    assert verify_log(folder).key_fingerprint != key_fingerprint(public_pem())
    with pytest.raises(AuditVerificationError, match="kept outside the workspace does not belong to this log"):
        verify_log(folder, checkpoint=outside)


def test_a_history_sealed_anew_by_the_owner_of_the_key_is_found_by_a_checkpoint_kept_outside(folder: Path) -> None:
    outside = "".join((folder / NOTES).read_text().splitlines(keepends=True)[5:])
    rebuild(folder, KEY)
    assert verify_log(folder).checkpointed_size == 4
    assert first_wrong(folder, outside) == 4


def test_a_checkpoint_of_another_log_is_refused(folder: Path, tmp_path: Path) -> None:
    other = AuditLog.open(tmp_path / "other")
    checkpoint = msgspec.structs.replace(other.checkpoint(ORIGIN), origin="sealyard/other")
    note = format_note(checkpoint, public_pem(), KEY.sign(checkpoint_body(checkpoint)))
    with pytest.raises(AuditVerificationError, match="different logs"):
        verify_log(folder, checkpoint=note)


@pytest.mark.parametrize("note", ["", "not a note", "a\n1\nb\n\n— c d\n"])
def test_what_is_no_checkpoint_is_refused(folder: Path, note: str) -> None:
    with pytest.raises(AuditVerificationError, match="kept outside"):
        verify_log(folder, checkpoint=note)


def test_missing_audit_key_is_reported(folder: Path) -> None:
    (folder / "audit-key.pem").unlink()
    with pytest.raises(AuditVerificationError, match=r"audit-key\.pem is missing"):
        verify_log(folder)


def test_missing_audit_key_is_not_blamed_on_the_external_checkpoint(folder: Path) -> None:
    outside = (folder / NOTES).read_text()
    (folder / NOTES).unlink()
    (folder / "audit-key.pem").unlink()
    with pytest.raises(AuditVerificationError, match=r"audit-key\.pem is missing"):
        verify_log(folder, checkpoint="".join(outside.splitlines(keepends=True)[:5]))


def test_log_without_checkpoints_needs_no_audit_key(folder: Path) -> None:
    (folder / NOTES).unlink()
    (folder / "audit-key.pem").unlink()
    report = verify_log(folder)
    assert (report.checkpointed_size, report.key_fingerprint) == (0, "")


@pytest.mark.parametrize("line", range(4))
def test_a_line_that_is_missing_in_the_last_checkpoint_is_found(folder: Path, line: int) -> None:
    tamper_lines(folder / NOTES, lambda lines: lines[: 5 + line] + lines[6 + line :])
    with pytest.raises(AuditVerificationError, match="incomplete checkpoint"):
        verify_log(folder)


@pytest.mark.parametrize("lines_left", range(5))
def test_what_a_crash_left_of_a_checkpoint_does_not_count(folder: Path, lines_left: int) -> None:
    tamper_lines(folder / NOTES, lambda lines: [*lines[: 5 + lines_left], b"half a li"])
    assert verify_log(folder).checkpointed_size == 4


def test_checkpoints_out_of_order_are_refused(folder: Path) -> None:
    tamper_lines(folder / NOTES, lambda lines: lines[5:] + lines[:5])
    with pytest.raises(AuditVerificationError, match="out of order"):
        verify_log(folder)


def several_segments(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "SEGMENT_ENTRIES", 3)
        make_log(folder, (8,), unsealed=1)


SPOILED: list[tuple[Callable[[Path], object], int | None]] = [
    (lambda folder: (folder / "segment-000001.jsonl").unlink(), None),
    (lambda folder: (folder / "segment-000002.jsonl").unlink(), 6),
    (lambda folder: (folder / "segment-000001.jsonl").write_bytes(b""), 3),
    (lambda folder: tamper_lines(folder / "segment-000001.jsonl", lambda lines: [*lines, b'{"half']), None),
    (lambda folder: tamper_lines(folder / "segment-000000.jsonl", lambda lines: lines[:-1]), 2),
]


@pytest.mark.parametrize(("spoil", "seq"), SPOILED)
def test_a_spoiled_segment_is_found(tmp_path: Path, spoil: Callable[[Path], object], seq: int | None) -> None:
    several_segments(tmp_path)
    assert verify_log(tmp_path).size == 9
    spoil(tmp_path)
    assert first_wrong(tmp_path) == seq


def test_the_message_names_file_and_line(tmp_path: Path) -> None:
    several_segments(tmp_path)
    tamper_lines(tmp_path / "segment-000001.jsonl", lambda lines: [lines[0], b"{}\n", lines[2]])
    with pytest.raises(AuditVerificationError, match=r"Entry 4 cannot be read \(segment-000001\.jsonl, line 2\)"):
        verify_log(tmp_path)
