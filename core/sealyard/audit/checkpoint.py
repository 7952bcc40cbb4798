"""Format, parse and verify checkpoints of the audit log, in a standard text format that other tools can verify.

A checkpoint is a signed note: C2SP ``tlog-checkpoint`` over C2SP ``signed-note``, both version 1, with an
Ed25519 signature (type 0x01) whose key name is the origin::

    sealyard/5a0f…
    1024
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — sealyard/5a0f… Az3grl…

The signature covers the first three lines, including their line feeds.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from hashlib import sha256

from sealyard.model.audit import Checkpoint
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError

_ED25519 = b"\x01"
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_MAX_NOTE_LENGTH = 100_000  # characters; signed-note requires implementations to accept at least 16 signatures
_BODY_PATTERN = re.compile(r"(?P<origin>[!-*,-~]+)\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n")
_SIGNATURE_PATTERN = re.compile(r"— (?P<name>[^\s+\x00-\x1f]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")


class NoteSignature(FrozenStruct, frozen=True, kw_only=True):
    """A signature line of a signed note. ``key_id`` is the first 4 bytes of a hash over key name and public key."""

    name: str
    key_id: bytes
    signature: bytes


def checkpoint_body(checkpoint: Checkpoint) -> bytes:
    """Return the bytes of a checkpoint that its signature covers."""
    root = base64.b64encode(bytes.fromhex(checkpoint.root)).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n".encode()


def format_note(checkpoint: Checkpoint, public_key: bytes, signature: bytes) -> str:
    """Return the signed note for ``checkpoint``.

    ``signature`` is the Ed25519 signature over :func:`checkpoint_body`, ``public_key`` the public key in PEM. Raises
    :class:`AuditVerificationError` if the signature is wrong.
    """
    body = checkpoint_body(checkpoint)
    signature_text = base64.b64encode(key_id(checkpoint.origin, public_key) + signature).decode()
    note = f"{body.decode()}\n— {checkpoint.origin} {signature_text}\n"
    verify_note(note, public_key)
    return note


def parse_note(note: str) -> tuple[Checkpoint, tuple[NoteSignature, ...]]:
    """Parse a signed note without verifying its signatures.

    Raises :class:`AuditVerificationError` if ``note`` is not a well-formed checkpoint.
    """
    body, separator, signature_lines = note.rpartition("\n\n")
    match = _BODY_PATTERN.fullmatch(body + "\n") if separator and len(note) <= _MAX_NOTE_LENGTH else None
    if match is None or not signature_lines.endswith("\n"):
        raise AuditVerificationError("Not a checkpoint of an audit log.")
    checkpoint = Checkpoint(origin=match["origin"], size=int(match["size"]), root=decode_base64(match["root"]).hex())
    return checkpoint, tuple(_parse_signature(line) for line in signature_lines[:-1].split("\n"))


def verify_note(note: str, public_key: bytes) -> Checkpoint:
    """Verify that ``note`` is signed with ``public_key`` (PEM, Ed25519), and return its checkpoint.

    Ignores signatures of other keys (witnesses). Raises :class:`AuditVerificationError` if the key's signature is
    missing or wrong.
    """
    checkpoint, signatures = parse_note(note)
    audit_key_id = key_id(checkpoint.origin, public_key)
    key_signatures = [
        signature
        for signature in signatures
        if signature.name == checkpoint.origin and signature.key_id == audit_key_id
    ]
    if not key_signatures:
        raise AuditVerificationError(f"The checkpoint of size {checkpoint.size} is not signed by the audit key.")
    for key_signature in key_signatures:
        _check_signature(checkpoint, key_signature.signature, public_key)
    return checkpoint


def key_id(name: str, public_key: bytes) -> bytes:
    """Return the 4 bytes that identify a public key (PEM) with this name in a signature line."""
    return sha256(name.encode() + b"\n" + _ED25519 + _load_raw_key(public_key)).digest()[:4]


def verify_signature(message: bytes, signature: bytes, public_key: bytes) -> None:
    """Raise :class:`AuditVerificationError` unless ``signature`` of ``message`` is that of ``public_key`` (PEM)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(_load_raw_key(public_key)).verify(signature, message)
    except InvalidSignature as error:
        raise AuditVerificationError("The signature is wrong.") from error


def _check_signature(checkpoint: Checkpoint, signature: bytes, public_key: bytes) -> None:
    try:
        verify_signature(checkpoint_body(checkpoint), signature, public_key)
    except AuditVerificationError as error:
        raise AuditVerificationError(f"The signature of the checkpoint of size {checkpoint.size} is wrong.") from error


def key_fingerprint(public_key: bytes) -> str:
    """Return the SHA-256 (hex) of the DER SubjectPublicKeyInfo of an Ed25519 public key in PEM (RFC 8410)."""
    return sha256(_SPKI_PREFIX + _load_raw_key(public_key)).hexdigest()


@lru_cache(maxsize=1)
def _load_raw_key(public_key: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AuditVerificationError("Cannot read the audit key: not a public key in PEM.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AuditVerificationError("The audit key is not an Ed25519 key.")
    return key.public_bytes_raw()


def _parse_signature(line: str) -> NoteSignature:
    match = _SIGNATURE_PATTERN.fullmatch(line)
    if match is None:
        raise AuditVerificationError("A checkpoint has an invalid signature line.")
    key_id_and_signature = decode_base64(match["signature"])
    return NoteSignature(name=match["name"], key_id=key_id_and_signature[:4], signature=key_id_and_signature[4:])


def decode_base64(text: str) -> bytes:
    """Decode Base64, and reject non-canonical encodings, so that no two texts encode the same checkpoint.

    Raises :class:`AuditVerificationError` if ``text`` is not canonical Base64.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AuditVerificationError("A field is not valid Base64.") from error
    if base64.b64encode(data).decode() != text:
        raise AuditVerificationError("A field is not canonical Base64.")
    return data
