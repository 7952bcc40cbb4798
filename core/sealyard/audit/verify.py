"""Verify a whole audit log: every entry, every hash link and every checkpoint.

Verification detects every modification, removal, insertion or reordering of entries that a checkpoint covers: without
the audit key, an attacker cannot sign a checkpoint for a different history. It does not detect that the whole folder,
including its checkpoints, has been reset to an older state or rewritten with another key. A checkpoint that was stored
outside the folder detects both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from sealyard.audit.checkpoint import key_fingerprint, verify_note
from sealyard.audit.encoding import decode_entry, is_canonical
from sealyard.audit.merkle import Frontier, leaf_hash
from sealyard.audit.source import AuditSource, StoredLine
from sealyard.model.audit import GENESIS_HASH, AuditEntry, AuditReport, Checkpoint
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError
from sealyard.model.formatting import format_count

_PROGRESS_EVERY = 1000

Progress = Callable[[int], None]
"""Called with the number of entries verified so far. The callback may raise an exception to stop the verification."""


class _VerifiedCheckpoint(FrozenStruct, frozen=True, kw_only=True):
    """A checkpoint with a valid signature. ``location`` says in error messages where the checkpoint is stored."""

    checkpoint: Checkpoint
    location: str


def verify_log(source: AuditSource, *, checkpoint: str | None = None, progress: Progress | None = None) -> AuditReport:
    """Verify all entries and checkpoints of a stored log.

    ``checkpoint`` is a signed note that was stored outside the workspace; the log must match it too.

    Raises :class:`AuditVerificationError` if an entry or a checkpoint is wrong, or if the audit key or all checkpoints
    are missing. The error names the first wrong entry with its location.
    """
    notes = list(source.notes())
    is_required = bool(notes) or checkpoint is not None
    public_key = source.read_public_key() if is_required else source.find_public_key() or b""
    source.require_checkpoints()
    checkpoints = _verify_notes(notes, public_key, source.CHECKPOINTS)
    checkpointed_size = checkpoints[-1].checkpoint.size if checkpoints else 0
    external_size = None
    if checkpoint is not None:
        external_checkpoint = _verify_external_note(checkpoint, public_key)
        external_size = external_checkpoint.checkpoint.size
        checkpoints.append(external_checkpoint)
    if len({verified_checkpoint.checkpoint.origin for verified_checkpoint in checkpoints}) > 1:
        raise AuditVerificationError(
            "The checkpoints belong to different logs.", "Compare their first lines, which name the log."
        )
    tree = _verify_entries(
        source, sorted(checkpoints, key=lambda verified_checkpoint: verified_checkpoint.checkpoint.size), progress
    )
    return AuditReport(
        origin=checkpoints[0].checkpoint.origin if checkpoints else "",
        size=tree.size,
        checkpointed_size=checkpointed_size,
        root=tree.root().hex(),
        checkpoints_checked=len(checkpoints),
        key_fingerprint=key_fingerprint(public_key) if public_key else "",
        external_checkpoint_size=external_size,
    )


def _verify_notes(notes: Iterable[str], public_key: bytes, location: str) -> list[_VerifiedCheckpoint]:
    checkpoints: list[_VerifiedCheckpoint] = []
    for note in notes:
        checkpoint = verify_note(note, public_key)
        if checkpoints and checkpoint.size < checkpoints[-1].checkpoint.size:
            raise AuditVerificationError(f"{location} is out of order at the checkpoint of size {checkpoint.size}.")
        checkpoints.append(_VerifiedCheckpoint(checkpoint=checkpoint, location=f"in {location}"))
    return checkpoints


def _verify_external_note(note: str, public_key: bytes) -> _VerifiedCheckpoint:
    try:
        return _VerifiedCheckpoint(checkpoint=verify_note(note, public_key), location="kept outside the workspace")
    except AuditVerificationError as error:
        raise AuditVerificationError(
            f"The checkpoint kept outside the workspace does not belong to this log: {error.message}",
            "Check the checkpoint: it belongs to another log, or the log and its key were replaced.",
        ) from error


def _verify_entries(source: AuditSource, checkpoints: list[_VerifiedCheckpoint], progress: Progress | None) -> Frontier:
    tree = Frontier()
    previous_hash = GENESIS_HASH
    checkpointed_size = 0
    pending_checkpoints = deque(checkpoints)
    lines = source.lines()
    for line in chain(lines, (None,)):
        while pending_checkpoints and pending_checkpoints[0].checkpoint.size == tree.size:
            _check_root(pending_checkpoints.popleft(), tree, checkpointed_size, line, previous_hash)
            checkpointed_size = tree.size
        if line is None:
            break
        _check_entry(line, tree.size, previous_hash, checkpointed_size, lines)
        leaf = leaf_hash(line.data)
        tree.append(leaf)
        previous_hash = leaf.hex()
        if progress and tree.size % _PROGRESS_EVERY == 0:
            progress(tree.size)
    if pending_checkpoints:
        _raise_missing_entries(pending_checkpoints[0], tree.size)
    return tree


def _check_entry(
    line: StoredLine, seq: int, previous_hash: str, checkpointed_size: int, remaining_lines: Iterator[StoredLine]
) -> None:
    entry = _decode_line(line, seq)
    if entry.seq != seq:
        raise AuditVerificationError(f"Entry {seq} is missing: {line} contains entry {entry.seq}.", seq=seq)
    if not is_canonical(entry, line.data):
        raise AuditVerificationError(f"Entry {seq} is not in canonical form ({line}).", seq=seq)
    if entry.previous == previous_hash:
        return
    next_line = next(remaining_lines, None)
    if (
        seq > checkpointed_size
        and next_line is not None
        and _read_previous_hash(next_line) == leaf_hash(line.data).hex()
    ):
        # The hash in the next entry confirms this entry, so it is the previous entry that was changed.
        raise AuditVerificationError(
            f"Entry {seq - 1}, before {line}, was changed: its hash does not match the one in entry {seq}.",
            seq=seq - 1,
        )
    raise AuditVerificationError(f"Entry {seq} does not follow the previous entry ({line}).", seq=seq)


def _decode_line(line: StoredLine, seq: int) -> AuditEntry:
    try:
        return decode_entry(line.data, line.source)
    except AuditVerificationError as error:
        raise AuditVerificationError(f"Entry {seq} cannot be read ({line}).", seq=seq) from error


def _read_previous_hash(line: StoredLine) -> str | None:
    """Return the hash of the previous entry, which ``line`` contains, or ``None`` if the line is not an entry."""
    try:
        return decode_entry(line.data, line.source).previous
    except AuditVerificationError:
        return None


def _check_root(
    verified_checkpoint: _VerifiedCheckpoint,
    tree: Frontier,
    first_suspect: int,
    next_line: StoredLine | None,
    previous_hash: str,
) -> None:
    if tree.root().hex() == verified_checkpoint.checkpoint.root:
        return
    last_seq = tree.size - 1
    if first_suspect > last_seq:
        first_suspect = 0  # the entries match another checkpoint of this size, so both were rewritten
    if next_line is not None and _read_previous_hash(next_line) not in (None, previous_hash):
        first_suspect = last_seq  # the next entry still contains the hash of the original entry
    suspect_entries = (
        f"Entry {last_seq} does" if first_suspect == last_seq else f"Entries {first_suspect} to {last_seq} do"
    )
    raise AuditVerificationError(
        f"{suspect_entries} not match the checkpoint of size {tree.size} {verified_checkpoint.location}.",
        "Compare the log with a backup: the entries are consistent in themselves, so they were rewritten.",
        seq=first_suspect,
    )


def _raise_missing_entries(verified_checkpoint: _VerifiedCheckpoint, tree_size: int) -> None:
    raise AuditVerificationError(
        f"Entry {tree_size} is missing: the log ends after {format_count(tree_size, 'entry', 'entries')}, "
        f"but the checkpoint {verified_checkpoint.location} covers {verified_checkpoint.checkpoint.size}.",
        "Compare the log with a backup: its end was removed, or an older state was restored.",
        seq=tree_size,
    )
