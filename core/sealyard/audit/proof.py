"""Proofs about the audit log that can be verified without the log: text format, creation and verification.

An *inclusion proof* shows that a checkpoint covers an entry. Its text is a C2SP ``tlog-proof``, version 1; the extra
data is the entry, exactly as stored::

    c2sp.org/tlog-proof@v1
    extra eyJhdXRob3Ii…
    index 12
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=

    sealyard/5a0f…
    …

A *consistency proof* shows that the log of a checkpoint starts with the log of an older checkpoint, which the verifier
has kept. Its text is the body of an ``add-checkpoint`` request of C2SP ``tlog-witness``::

    old 7
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=

    sealyard/5a0f…
    …

The hashes are those of RFC 6962, sections 2.1.1 and 2.1.2, in Base64. The last part is the signed checkpoint.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import islice

from sealyard.audit.checkpoint import decode_base64, parse_note, verify_note
from sealyard.audit.encoding import decode_entry
from sealyard.audit.merkle import (
    consistency_subtrees,
    inclusion_subtrees,
    leaf_hash,
    subtree_roots,
    verify_consistency,
    verify_inclusion,
)
from sealyard.audit.source import AuditSource
from sealyard.model.audit import AuditEntry, Checkpoint
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError, ConflictError, NotFoundError, UsageError

MAX_PROOF_LENGTH = 16 * 1024 * 1024
"""Maximum length of the text of a proof, in characters."""

_INCLUSION_HEADER = "c2sp.org/tlog-proof@v1"
_HASH = r"[A-Za-z0-9+/]{43}="
_NUMBER = r"0|[1-9][0-9]{0,15}"
_MAX_HASHES = 63
_INCLUSION = re.compile(
    rf"{re.escape(_INCLUSION_HEADER)}\n(?:extra (?P<extra>[A-Za-z0-9+/]+={{0,2}})\n)?index (?P<index>{_NUMBER})\n"
    rf"(?P<hashes>(?:{_HASH}\n){{0,{_MAX_HASHES}}})"
)
_CONSISTENCY = re.compile(rf"old (?P<size>{_NUMBER})\n(?P<hashes>(?:{_HASH}\n){{0,{_MAX_HASHES}}})")


class InclusionProof(FrozenStruct, frozen=True, kw_only=True):
    """A proof that the checkpoint in the signed ``note`` covers the entry ``seq``.

    ``entry`` contains the stored bytes of the entry, ``hashes`` the sibling hashes from the bottom up.
    """

    seq: int
    entry: bytes
    hashes: tuple[bytes, ...]
    note: str

    def format(self) -> str:
        """Return the proof as a C2SP ``tlog-proof``."""
        head = (_INCLUSION_HEADER, f"extra {_encode(self.entry)}", f"index {self.seq}", *map(_encode, self.hashes))
        return "\n".join((*head, "", self.note))

    def verify(self, public_key: bytes) -> tuple[Checkpoint, AuditEntry]:
        """Verify the proof with the audit key (PEM); return the checkpoint and the entry.

        Raises :class:`AuditVerificationError` if the proof or the signature of the checkpoint is wrong.
        """
        checkpoint = verify_note(self.note, public_key)
        entry = decode_entry(self.entry, "The proof")
        if entry.seq != self.seq:
            raise AuditVerificationError(f"The proof is for entry {self.seq}, but contains entry {entry.seq}.")
        root = bytes.fromhex(checkpoint.root)
        verify_inclusion(leaf_hash(self.entry), self.seq, checkpoint.size, self.hashes, root)
        return checkpoint, entry


class ConsistencyProof(FrozenStruct, frozen=True, kw_only=True):
    """A proof that the log of the checkpoint in the signed ``note`` starts with a log of ``old_size`` entries."""

    old_size: int
    hashes: tuple[bytes, ...]
    note: str

    def format(self) -> str:
        """Return the proof as the body of an ``add-checkpoint`` request of C2SP ``tlog-witness``."""
        return "\n".join((f"old {self.old_size}", *map(_encode, self.hashes), "", self.note))

    def verify(self, public_key: bytes, old_note: str) -> tuple[Checkpoint, Checkpoint]:
        """Verify the proof with the audit key (PEM); return the old and the new checkpoint.

        ``old_note`` is the signed checkpoint of size ``old_size`` that the verifier has kept. Raises
        :class:`AuditVerificationError` if the proof or the signature of a checkpoint is wrong.
        """
        old_checkpoint, checkpoint = verify_note(old_note, public_key), verify_note(self.note, public_key)
        if old_checkpoint.origin != checkpoint.origin:
            raise AuditVerificationError("The checkpoints belong to different logs.")
        if old_checkpoint.size != self.old_size:
            raise AuditVerificationError(
                f"The proof starts at size {self.old_size}, but the kept checkpoint has size {old_checkpoint.size}.",
                "Request a proof that starts at the size of the kept checkpoint.",
            )
        self.verify_roots(bytes.fromhex(old_checkpoint.root), checkpoint)
        return old_checkpoint, checkpoint

    def verify_roots(self, old_root: bytes, checkpoint: Checkpoint) -> None:
        """Verify that the proof leads from ``old_root`` to ``checkpoint``, whose signature is not checked.

        Raises :class:`AuditVerificationError` if it does not.
        """
        verify_consistency(self.old_size, old_root, checkpoint.size, bytes.fromhex(checkpoint.root), self.hashes)


def parse_proof(text: str) -> InclusionProof | ConsistencyProof:
    """Parse the text of a proof without verifying it. Raises :class:`AuditVerificationError` if it is malformed."""
    head, separator, note = text.partition("\n\n")
    if not separator or len(text) > MAX_PROOF_LENGTH:
        raise AuditVerificationError("Not a proof of an audit log.")
    parse_note(note)
    if match := _CONSISTENCY.fullmatch(head + "\n"):
        return ConsistencyProof(old_size=int(match["size"]), hashes=_decode_hashes(match["hashes"]), note=note)
    match = _INCLUSION.fullmatch(head + "\n")
    if match is None:
        raise AuditVerificationError("Not a proof of an audit log.")
    if match["extra"] is None:
        raise AuditVerificationError("The proof does not contain the entry.")
    return InclusionProof(
        seq=int(match["index"]),
        entry=decode_base64(match["extra"]),
        hashes=_decode_hashes(match["hashes"]),
        note=note,
    )


def prove_inclusion(source: AuditSource, seq: int) -> InclusionProof:
    """Return the proof that the newest checkpoint covers the entry ``seq``, after verifying it.

    Reads all entries that the checkpoint covers. Raises :class:`ConflictError` if no checkpoint covers the entry yet,
    and :class:`AuditVerificationError` if the log does not match the checkpoint.
    """
    note = source.last_note()
    size = 0 if note is None else parse_note(note)[0].size
    if note is None or seq >= size:
        raise ConflictError(
            f"Entry {seq} is not covered by a checkpoint yet: the last one has size {size}.", "Try again in a second."
        )
    stored_entry = next(islice(_iter_lines(source), seq, None), b"")
    hashes = subtree_roots(_iter_leaves(source), inclusion_subtrees(seq, size))
    proof = InclusionProof(seq=seq, entry=stored_entry, hashes=tuple(hashes), note=note)
    proof.verify(source.read_public_key())
    return proof


def prove_consistency(source: AuditSource, old_size: int, size: int | None = None) -> ConsistencyProof:
    """Return the proof that the log of the checkpoint of ``size`` starts with its first ``old_size`` entries.

    ``size`` is by default that of the newest checkpoint. The proof is verified with the entries of the log. Raises
    :class:`NotFoundError` if there is no checkpoint of this size, :class:`UsageError` if ``old_size`` is not between 1
    and ``size``, and :class:`AuditVerificationError` if the log does not match the checkpoint.
    """
    note = _find_note(source, size)
    checkpoint = verify_note(note, source.read_public_key())
    if not 0 < old_size <= checkpoint.size:
        raise UsageError(
            f"A consistency proof for the checkpoint of size {checkpoint.size} cannot start at size {old_size}.",
            f"Use a size from 1 to {checkpoint.size}.",
        )
    hashes = subtree_roots(_iter_leaves(source), consistency_subtrees(old_size, checkpoint.size))
    proof = ConsistencyProof(old_size=old_size, hashes=tuple(hashes), note=note)
    (old_root,) = subtree_roots(_iter_leaves(source), (range(old_size),))
    proof.verify_roots(old_root, checkpoint)
    return proof


def _find_note(source: AuditSource, size: int | None) -> str:
    newest_note = source.last_note()
    if size is None and newest_note is not None:
        return newest_note
    for note in source.notes():
        if parse_note(note)[0].size == size:
            return note
    raise NotFoundError(
        "The audit log has no checkpoint." if size is None else f"The audit log has no checkpoint of size {size}.",
        "Omit the size to use the newest checkpoint.",
    )


def _iter_lines(source: AuditSource) -> Iterator[bytes]:
    """Yield the entries as stored."""
    return (line.data for line in source.lines())


def _iter_leaves(source: AuditSource) -> Iterator[bytes]:
    return map(leaf_hash, _iter_lines(source))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode_hashes(lines: str) -> tuple[bytes, ...]:
    return tuple(map(decode_base64, lines.splitlines()))
