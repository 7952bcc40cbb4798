"""Checkpoints as text that a stranger can check, without this project.

A checkpoint is a signed note: C2SP ``tlog-checkpoint`` over C2SP ``signed-note``, both version 1, with an
Ed25519 signature (type 0x01) whose key name is the origin::

    sealyard/5a0f…
    1024
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — sealyard/5a0f… Az3grl…

The signature is over the first three lines with their line feeds.
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
_NOTE_LIMIT = 100_000  # characters; room for the 16 signatures the specification asks for, of any kind
_TEXT = re.compile(r"(?P<origin>[!-*,-~]+)\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n")
_SIGNATURE = re.compile(r"— (?P<name>[^\s+\x00-\x1f]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")


class NoteSignature(FrozenStruct, frozen=True, kw_only=True):
    """One signature line: ``key_id`` is the first 4 bytes of a hash over name and key."""

    name: str
    key_id: bytes
    signature: bytes


def checkpoint_body(checkpoint: Checkpoint) -> bytes:
    """The bytes that are signed."""
    root = base64.b64encode(bytes.fromhex(checkpoint.root)).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n".encode()


def format_note(checkpoint: Checkpoint, public_key: bytes, signature: bytes) -> str:
    """The note of a finished Ed25519 ``signature`` over :func:`checkpoint_body`; ``public_key`` is PEM.

    Raises :class:`AuditVerificationError` where the signature does not verify: none leaves unchecked.
    """
    text = checkpoint_body(checkpoint)
    signed = base64.b64encode(key_id(checkpoint.origin, public_key) + signature).decode()
    note = f"{text.decode()}\n— {checkpoint.origin} {signed}\n"
    verify_note(note, public_key)
    return note


def parse_note(note: str) -> tuple[Checkpoint, tuple[NoteSignature, ...]]:
    """Reads a note without checking its signatures. Raises :class:`AuditVerificationError`."""
    text, gap, lines = note.rpartition("\n\n")
    found = _TEXT.fullmatch(text + "\n") if gap and len(note) <= _NOTE_LIMIT else None
    if found is None or not lines.endswith("\n"):
        raise AuditVerificationError("This is not a checkpoint of an audit log.")
    checkpoint = Checkpoint(
        origin=found["origin"], size=int(found["size"]), root=_strict_b64decode(found["root"]).hex()
    )
    return checkpoint, tuple(_parse_signature(line) for line in lines[:-1].split("\n"))


def verify_note(note: str, public_key: bytes) -> Checkpoint:
    """The checkpoint, once the signature of ``public_key`` (PEM, Ed25519) over it is found good.

    Signatures of other keys (witnesses) are passed over. Raises :class:`AuditVerificationError`.
    """
    checkpoint, signatures = parse_note(note)
    wanted = key_id(checkpoint.origin, public_key)
    ours = [each for each in signatures if each.name == checkpoint.origin and each.key_id == wanted]
    if not ours:
        raise AuditVerificationError(f"The checkpoint of size {checkpoint.size} is not signed by the audit key.")
    for each in ours:
        _check_signature(checkpoint, each.signature, public_key)
    return checkpoint


def key_id(name: str, public_key: bytes) -> bytes:
    """The four bytes that tell which key made a signature line."""
    return sha256(name.encode() + b"\n" + _ED25519 + _raw_key(public_key)).digest()[:4]


def _check_signature(checkpoint: Checkpoint, signature: bytes, public_key: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(_raw_key(public_key)).verify(signature, checkpoint_body(checkpoint))
    except InvalidSignature as error:
        raise AuditVerificationError(f"The signature of the checkpoint of size {checkpoint.size} is wrong.") from error


def key_fingerprint(public_key: bytes) -> str:
    """SHA-256 (hex) of the DER SubjectPublicKeyInfo of an Ed25519 key in PEM (RFC 8410)."""
    return sha256(_SPKI_PREFIX + _raw_key(public_key)).hexdigest()


@lru_cache(maxsize=1)
def _raw_key(public_key: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AuditVerificationError("The audit key cannot be read: it is no public key in PEM.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AuditVerificationError("The audit key is not an Ed25519 key.")
    return key.public_bytes_raw()


def _parse_signature(line: str) -> NoteSignature:
    found = _SIGNATURE.fullmatch(line)
    if found is None:
        raise AuditVerificationError("A checkpoint has a signature line that is none.")
    data = _strict_b64decode(found["signature"])
    return NoteSignature(name=found["name"], key_id=data[:4], signature=data[4:])


def _strict_b64decode(text: str) -> bytes:
    """Strictly: the one standard encoding of its bytes, so that no two texts mean the same checkpoint."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AuditVerificationError("A checkpoint has a field that is not Base64.") from error
    if base64.b64encode(data).decode() != text:
        raise AuditVerificationError("A checkpoint has a field that is not Base64 as it is written.")
    return data
