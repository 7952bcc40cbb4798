"""An independent verifier of audit proofs, written from the specifications without any module of Sealyard.

Specifications: RFC 6962, section 2.1; C2SP ``tlog-proof``, ``tlog-witness``, ``tlog-checkpoint`` and ``signed-note``.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def verify_inclusion_proof(text: str, key: bytes) -> bytes:
    """Verify a ``tlog-proof`` whose extra data is the entry, and return the entry."""
    head, _, note = text.partition("\n\n")
    header, extra, index, *hashes = head.split("\n")
    assert header == "c2sp.org/tlog-proof@v1"
    assert extra.startswith("extra ")
    assert index.startswith("index ")
    entry, number = base64.b64decode(extra[6:]), int(index[6:])
    size, root = open_checkpoint(note, key)
    assert 0 <= number < size
    assert root_of_path(hash_of_leaf(entry), number, size, decode(hashes)) == root
    return entry


def verify_consistency_proof(text: str, old_note: str, key: bytes) -> None:
    """Verify the body of an ``add-checkpoint`` request against the checkpoint that the verifier has kept."""
    head, _, note = text.partition("\n\n")
    old_line, *hashes = head.split("\n")
    old_size, old_root = open_checkpoint(old_note, key)
    assert old_line == f"old {old_size}"
    size, root = open_checkpoint(note, key)
    path = decode(hashes)
    if old_size == size:
        assert old_root == root
        assert not path
        return
    assert roots_of_proof(old_size, size, path, old_root, is_complete=True) == (old_root, root)
    assert not path, "the proof is too long"


def open_checkpoint(note: str, key: bytes) -> tuple[int, bytes]:
    """Verify the signature of a checkpoint; return its size and its root."""
    body, _, signatures = note.partition("\n\n")
    origin, size, root = body.split("\n")
    public_key = load_pem_public_key(key)
    assert isinstance(public_key, Ed25519PublicKey)
    identity = hashlib.sha256(origin.encode() + b"\n\x01" + public_key.public_bytes_raw()).digest()[:4]
    (signature,) = [
        blob
        for line in signatures.splitlines()
        for dash, name, encoded in [line.split(" ")]
        if (dash, name) == ("—", origin) and (blob := base64.b64decode(encoded))[:4] == identity
    ]
    public_key.verify(signature[4:], f"{body}\n".encode())
    return int(size), base64.b64decode(root)


def root_of_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """Return the root that PATH(index, D[size]) leads to, by the recursive definition of section 2.1.1."""
    if size == 1:
        assert not path, "the proof is too long"
        return leaf
    assert path, "the proof is too short"
    split = split_point(size)
    *lower, sibling = path
    if index < split:
        return hash_of_node(root_of_path(leaf, index, split, lower), sibling)
    return hash_of_node(sibling, root_of_path(leaf, index - split, size - split, lower))


def roots_of_proof(
    old_size: int, size: int, path: list[bytes], old_root: bytes, *, is_complete: bool
) -> tuple[bytes, bytes]:
    """Return the old and the new root by the definition of SUBPROOF in section 2.1.2. Empties ``path`` from its end."""
    if old_size == size:
        if is_complete:
            return old_root, old_root
        root = path.pop()
        return root, root
    assert path, "the proof is too short"
    split, sibling = split_point(size), path.pop()
    if old_size <= split:
        old, new = roots_of_proof(old_size, split, path, old_root, is_complete=is_complete)
        return old, hash_of_node(new, sibling)
    old, new = roots_of_proof(old_size - split, size - split, path, old_root, is_complete=False)
    return hash_of_node(sibling, old), hash_of_node(sibling, new)


def split_point(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def hash_of_leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_of_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def decode(lines: list[str]) -> list[bytes]:
    return [base64.b64decode(line, validate=True) for line in lines]
