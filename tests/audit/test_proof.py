"""Tests of inclusion and consistency proofs: an independent verifier accepts them, and changed ones are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.audit.proof import (
    ConsistencyProof,
    InclusionProof,
    parse_proof,
    prove_consistency,
    prove_inclusion,
)
from sealyard.audit.reader import AuditReader
from sealyard.audit.segment_files import PUBLIC_KEY, read_notes
from sealyard.model.errors import AuditVerificationError, ConflictError, NotFoundError, UsageError
from tests.support.factories.audit import add, add_checkpoint, make_log, public_pem, tamper_lines
from tests.support.proof_verifier import verify_consistency_proof, verify_inclusion_proof

SEGMENT = "segment-000000.jsonl"
MAX_SIZE = 70
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"another key".ljust(32))


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a checkpoint after every entry."""
    folder = tmp_path_factory.mktemp("log")
    make_log(folder, tuple(range(1, MAX_SIZE + 1)))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_log(tmp_path, (4, 7), uncheckpointed=2)
    return tmp_path


def parse_and_verify(text: str) -> None:
    proof = parse_proof(text)
    assert isinstance(proof, InclusionProof)
    proof.verify(public_pem())


def notes_of(folder: Path) -> list[str]:
    return list(read_notes(folder))


@settings(deadline=None)
@given(seq=st.integers(0, MAX_SIZE - 1))
def test_independent_verifier_accepts_inclusion_proof(long_log: Path, seq: int) -> None:
    text = prove_inclusion(AuditReader(long_log), seq).format()
    assert verify_inclusion_proof(text, public_pem()) == (long_log / SEGMENT).read_bytes().split(b"\n")[seq]


@settings(deadline=None)
@given(size=st.integers(1, MAX_SIZE), seq=st.integers(0, MAX_SIZE - 1))
def test_inclusion_proof_is_verified_for_every_size(
    tmp_path_factory: pytest.TempPathFactory, size: int, seq: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    make_log(folder, (size,))
    if seq >= size:
        with pytest.raises(ConflictError):
            prove_inclusion(AuditReader(folder), seq)
        return
    text = prove_inclusion(AuditReader(folder), seq).format()
    verify_inclusion_proof(text, public_pem())
    proof = parse_proof(text)
    assert isinstance(proof, InclusionProof)
    checkpoint, entry = proof.verify(public_pem())
    assert (checkpoint.size, entry.seq) == (size, seq)


@settings(deadline=None)
@given(sizes=st.tuples(st.integers(1, MAX_SIZE), st.integers(1, MAX_SIZE)).map(sorted))
def test_independent_verifier_accepts_consistency_proof(long_log: Path, sizes: list[int]) -> None:
    old_size, size = sizes
    notes = notes_of(long_log)
    text = prove_consistency(AuditReader(long_log), old_size, size).format()
    verify_consistency_proof(text, notes[old_size - 1], public_pem())
    proof = parse_proof(text)
    assert isinstance(proof, ConsistencyProof)
    old_checkpoint, checkpoint = proof.verify(public_pem(), notes[old_size - 1])
    assert (old_checkpoint.size, checkpoint.size) == (old_size, size)


@settings(deadline=None)
@given(data=st.data())
def test_changed_proof_is_rejected(long_log: Path, data: st.DataObject) -> None:
    text = prove_inclusion(AuditReader(long_log), 20).format()
    position = data.draw(st.integers(0, len(text) - 1))
    changed = text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :]
    with pytest.raises(AuditVerificationError):
        parse_and_verify(changed)


def test_proof_of_another_entry_number_is_rejected(folder: Path) -> None:
    text = prove_inclusion(AuditReader(folder), 2).format().replace("index 2", "index 3")
    proof = parse_proof(text)
    assert isinstance(proof, InclusionProof)
    with pytest.raises(AuditVerificationError, match="for entry 3, but contains entry 2"):
        proof.verify(public_pem())
    with pytest.raises(AssertionError):
        verify_inclusion_proof(text, public_pem())


def test_proof_of_another_key_is_rejected(folder: Path) -> None:
    with pytest.raises(AuditVerificationError, match="not signed by the audit key"):
        prove_inclusion(AuditReader(folder), 2).verify(public_pem(OTHER_KEY))


def test_proof_without_entry_is_rejected(folder: Path) -> None:
    lines = prove_inclusion(AuditReader(folder), 2).format().split("\n")
    with pytest.raises(AuditVerificationError, match="does not contain the entry"):
        parse_proof("\n".join((lines[0], *lines[2:])))


@pytest.mark.parametrize("text", ["", "c2sp.org/tlog-proof@v2\n\n", "old 1\n", "old 01\n\nx", "\n\n", "x" * (1 << 20)])
def test_other_text_is_not_a_proof(text: str) -> None:
    with pytest.raises(AuditVerificationError):
        parse_proof(text)


def test_consistency_proof_needs_the_checkpoint_it_starts_at(folder: Path) -> None:
    proof = prove_consistency(AuditReader(folder), 3)
    with pytest.raises(AuditVerificationError, match="starts at size 3, but the kept checkpoint has size 4"):
        proof.verify(public_pem(), notes_of(folder)[0])


def test_consistency_proof_with_rewritten_history_is_rejected(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_log(other, (4, 7), message="rewritten")
    proof = prove_consistency(AuditReader(other), 4)
    with pytest.raises(AuditVerificationError, match="does not match the roots"):
        proof.verify(public_pem(), notes_of(folder)[0])
    with pytest.raises(AssertionError):
        verify_consistency_proof(proof.format(), notes_of(folder)[0], public_pem())


def test_uncheckpointed_entry_has_no_proof_yet(folder: Path) -> None:
    with pytest.raises(ConflictError, match="Entry 7 is not covered by a checkpoint yet: the last one has size 7"):
        prove_inclusion(AuditReader(folder), 7)


def test_newest_checkpoint_is_the_default(folder: Path) -> None:
    assert prove_consistency(AuditReader(folder), 4).note == notes_of(folder)[-1]
    with pytest.raises(NotFoundError, match="no checkpoint of size 6"):
        prove_consistency(AuditReader(folder), 4, 6)


@pytest.mark.parametrize("old_size", [0, 8, -1])
def test_consistency_proof_starts_within_the_log(folder: Path, old_size: int) -> None:
    with pytest.raises(UsageError, match="cannot start at size"):
        prove_consistency(AuditReader(folder), old_size)


def test_tampered_log_gives_no_proof(folder: Path) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: [*lines[:5], lines[5].replace(b"number 5", b"number 6"), *lines[6:]])
    with pytest.raises(AuditVerificationError):
        prove_inclusion(AuditReader(folder), 2)
    with pytest.raises(AuditVerificationError):
        prove_consistency(AuditReader(folder), 4)


def test_truncated_log_gives_no_proof(folder: Path) -> None:
    tamper_lines(folder / SEGMENT, lambda lines: lines[:3])
    for seq in (2, 5):
        with pytest.raises(AuditVerificationError):
            prove_inclusion(AuditReader(folder), seq)
    with pytest.raises(AuditVerificationError):
        prove_consistency(AuditReader(folder), 4)


def test_missing_key_is_reported(folder: Path) -> None:
    (folder / PUBLIC_KEY).unlink()
    with pytest.raises(AuditVerificationError, match="is missing"):
        AuditReader(folder).read_public_key()


def test_proof_spans_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.audit.log.SEGMENT_ENTRIES", 3)
    log = make_log(tmp_path, (4,))
    add(log, 7)
    add_checkpoint(log)
    verify_inclusion_proof(prove_inclusion(AuditReader(tmp_path), 9).format(), public_pem())
    verify_consistency_proof(prove_consistency(AuditReader(tmp_path), 4).format(), notes_of(tmp_path)[0], public_pem())
