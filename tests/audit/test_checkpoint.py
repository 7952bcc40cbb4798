"""Tests of checkpoints as signed notes."""

from __future__ import annotations

import base64
from contextlib import suppress
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.audit.checkpoint import checkpoint_body, format_note, key_fingerprint, key_id, parse_note, verify_note
from sealyard.model.audit import Checkpoint
from sealyard.model.errors import AuditVerificationError
from tests.support.factories.audit import KEY, ORIGIN, public_pem

CHECKPOINT = Checkpoint(origin=ORIGIN, size=7, root=sha256(b"root").hexdigest())
NOTE = format_note(CHECKPOINT, public_pem(), KEY.sign(checkpoint_body(CHECKPOINT)))


# Source: golang.org/x/mod, sumdb/note/note_test.go: a verifier key is name, key id, and type byte with key.
PETER_NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def encode_pem(raw: bytes) -> bytes:
    key = load_der_public_key(bytes.fromhex("302a300506032b6570032100") + raw)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_key_id_matches_reference_implementation() -> None:
    name, identity, key = PETER_NEUMANN.split("+", 2)
    assert key_id(name, encode_pem(base64.b64decode(key)[1:])).hex() == identity


def test_specification_example_is_parsed() -> None:
    # Source: C2SP tlog-checkpoint, example in the introduction.
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    )
    checkpoint, signatures = parse_note(note)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert [(each.name, each.key_id.hex(), len(each.signature)) for each in signatures] == [
        ("example.com/behind-the-sofa", "033de0ae", 64)
    ]


def test_note_round_trip_returns_checkpoint() -> None:
    assert verify_note(NOTE, public_pem()) == CHECKPOINT


def test_note_has_five_lines() -> None:
    origin, size, root, gap, signature = NOTE.removesuffix("\n").split("\n")
    assert (origin, size, gap) == (ORIGIN, "7", "")
    assert base64.b64decode(root).hex() == CHECKPOINT.root
    assert signature.startswith(f"— {ORIGIN} ")


def test_fingerprint_is_sha256_of_der_key() -> None:
    der = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_fingerprint(public_pem()) == sha256(der).hexdigest()


def test_witness_signatures_are_ignored() -> None:
    witness = base64.b64encode(b"1234" + bytes(64)).decode()
    assert verify_note(NOTE + f"— witness.example {witness}\n", public_pem()) == CHECKPOINT


def test_note_of_another_key_is_rejected() -> None:
    other = public_pem(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(AuditVerificationError, match="not signed by the audit key"):
        verify_note(NOTE, other)


def test_format_note_with_wrong_signature_raises() -> None:
    with pytest.raises(AuditVerificationError, match="signature"):
        format_note(CHECKPOINT, public_pem(), bytes(64))


def test_audit_key_must_be_ed25519() -> None:
    other = generate_private_key(SECP256R1()).public_key()
    with pytest.raises(AuditVerificationError, match="Ed25519"):
        verify_note(NOTE, other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(AuditVerificationError, match="Cannot read the audit key"):
        verify_note(NOTE, b"no key")


@pytest.mark.parametrize(
    "note",
    [
        "",
        NOTE.removesuffix("\n"),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n7\n", "\n07\n"),
        NOTE.replace("\n7\n", "\n-7\n"),
        NOTE.replace("\n\n", "\nan extension\n\n"),
        NOTE.replace("— ", "- "),
        NOTE + "— without.signature\n",
        " " + NOTE,
        NOTE.replace("\n", "\r\n"),
        NOTE + NOTE,
    ],
)
def test_malformed_note_is_rejected(note: str) -> None:
    with pytest.raises(AuditVerificationError):
        verify_note(note, public_pem())


@settings(deadline=None)
@given(st.integers(0, len(NOTE) - 1), st.characters(max_codepoint=0x2FF))
def test_changed_character_is_detected(position: int, character: str) -> None:
    changed = NOTE[:position] + character + NOTE[position + 1 :]
    if changed == NOTE:
        return
    with pytest.raises(AuditVerificationError):
        verify_note(changed, public_pem())


@settings(deadline=None)
@given(st.text() | st.builds("{}\n{}\n{}\n\n— {} {}\n".format, *[st.text(max_size=50)] * 5))
def test_arbitrary_text_is_parsed_or_rejected(text: str) -> None:
    with suppress(AuditVerificationError):
        assert parse_note(text)[1]
