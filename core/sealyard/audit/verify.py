"""Checking a whole log: every entry, every link, every checkpoint, and what is not yet sealed.

What this finds: any change, loss, insertion or exchange among sealed entries; without the audit key nobody can
seal another history. What it cannot find alone: a folder put back to an older state, checkpoints and all, or
rewritten with another key. A checkpoint kept outside finds both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from sealyard.audit.checkpoint import key_fingerprint, verify_note
from sealyard.audit.encoding import decode_entry, is_canonical
from sealyard.audit.merkle import Frontier, leaf_hash
from sealyard.audit.segment_files import CHECKPOINTS, PUBLIC_KEY, last_line_end, read_lines, read_notes, segment_paths
from sealyard.model.audit import GENESIS_HASH, AuditEntry, AuditReport, Checkpoint
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError

_PROGRESS_EVERY = 1000

Progress = Callable[[int], None]
"""Told how many entries are checked; may raise to stop the work."""


class _Line(FrozenStruct, frozen=True, kw_only=True):
    """A line of a segment and where it stands; ``number`` counts from 1, as editors do."""

    file: str
    number: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}"


class _VerifiedCheckpoint(FrozenStruct, frozen=True, kw_only=True):
    """A checkpoint whose signature is good, and where it was kept, in words."""

    checkpoint: Checkpoint
    place: str


def verify_log(folder: Path, *, checkpoint: str | None = None, progress: Progress | None = None) -> AuditReport:
    """Recomputes everything in ``folder``; ``checkpoint`` is a signed note that was kept outside.

    Raises :class:`AuditVerificationError` naming the first entry that does not fit, with its file and line.
    """
    key_file = folder / PUBLIC_KEY
    public_key = key_file.read_bytes() if key_file.exists() else b""
    seals = _load_checkpoints(folder, public_key)
    sealed_size = seals[-1].checkpoint.size if seals else 0
    if checkpoint is not None:
        seals.append(_external_checkpoint(checkpoint, public_key))
    if len({seal.checkpoint.origin for seal in seals}) > 1:
        raise AuditVerificationError(
            "The checkpoints are of different logs.", "Each begins with the log's origin: compare them."
        )
    tree = _recompute(folder, sorted(seals, key=lambda seal: seal.checkpoint.size), progress)
    return AuditReport(
        origin=seals[0].checkpoint.origin if seals else "",
        size=tree.size,
        checkpointed_size=sealed_size,
        root=tree.root().hex(),
        checkpoints_checked=len(seals),
        key_fingerprint=key_fingerprint(public_key) if public_key else "",
    )


def _load_checkpoints(folder: Path, public_key: bytes) -> list[_VerifiedCheckpoint]:
    seals: list[_VerifiedCheckpoint] = []
    for note in read_notes(folder):
        checkpoint = verify_note(note, public_key)
        if seals and checkpoint.size < seals[-1].checkpoint.size:
            raise AuditVerificationError(f"{CHECKPOINTS} is out of order at the checkpoint of size {checkpoint.size}.")
        seals.append(_VerifiedCheckpoint(checkpoint=checkpoint, place=f"in {CHECKPOINTS}"))
    return seals


def _external_checkpoint(note: str, public_key: bytes) -> _VerifiedCheckpoint:
    try:
        return _VerifiedCheckpoint(checkpoint=verify_note(note, public_key), place="kept outside")
    except AuditVerificationError as error:
        raise AuditVerificationError(
            f"The checkpoint kept outside does not belong to this log: {error.message}",
            "Either it is of another log, or the log and its key were replaced.",
        ) from error


def _recompute(folder: Path, seals: list[_VerifiedCheckpoint], progress: Progress | None) -> Frontier:
    tree = Frontier()
    previous = GENESIS_HASH
    sealed = 0
    waiting = deque(seals)
    lines = _read_entries(folder)
    for line in chain(lines, (None,)):
        while waiting and waiting[0].checkpoint.size == tree.size:
            _check_root(waiting.popleft(), tree, sealed, line, previous)
            sealed = tree.size
        if line is None:
            break
        _check_entry(line, tree.size, previous, sealed, lines)
        leaf = leaf_hash(line.data)
        tree.append(leaf)
        previous = leaf.hex()
        if progress and tree.size % _PROGRESS_EVERY == 0:
            progress(tree.size)
    if waiting:
        _missing_entries(waiting[0], tree.size)
    return tree


def _read_entries(folder: Path) -> Iterator[_Line]:
    paths = segment_paths(folder)
    for path in paths:
        for number, data in enumerate(read_lines(path), start=1):
            yield _Line(file=path.name, number=number, data=data)
        if path != paths[-1] and last_line_end(path) != path.stat().st_size:
            raise AuditVerificationError(f"{path.name} does not end with a whole line, and is not the last segment.")


def _check_entry(line: _Line, seq: int, previous: str, sealed: int, following: Iterator[_Line]) -> None:
    entry = _decode(line, seq)
    if entry.seq != seq:
        raise AuditVerificationError(f"Entry {seq} is missing: {line} holds entry {entry.seq}.", seq=seq)
    if not is_canonical(entry, line.data):
        raise AuditVerificationError(f"Entry {seq} is not written as it was stored ({line}).", seq=seq)
    if entry.previous == previous:
        return
    after = next(following, None)
    if seq > sealed and after is not None and _link(after) == leaf_hash(line.data).hex():
        # The next entry vouches for this one, so it is the one before that was changed.
        raise AuditVerificationError(
            f"Entry {seq - 1}, the one before {line}, was changed: entry {seq} holds the hash of another one.",
            seq=seq - 1,
        )
    raise AuditVerificationError(f"Entry {seq} does not follow the entry before it ({line}).", seq=seq)


def _decode(line: _Line, seq: int) -> AuditEntry:
    try:
        return decode_entry(line.data, line.file)
    except AuditVerificationError as error:
        raise AuditVerificationError(f"Entry {seq} cannot be read ({line}).", seq=seq) from error


def _link(line: _Line) -> str | None:
    """The hash of the entry before, as ``line`` has it; None where it is no entry."""
    try:
        return decode_entry(line.data, line.file).previous
    except AuditVerificationError:
        return None


def _check_root(seal: _VerifiedCheckpoint, tree: Frontier, sealed: int, following: _Line | None, previous: str) -> None:
    if tree.root().hex() == seal.checkpoint.root:
        return
    last = tree.size - 1
    if following is not None and _link(following) not in (None, previous):
        sealed = last  # the next entry still holds the hash of what was there
    which = f"Entry {last} is" if sealed == last else f"Entries {sealed} to {last} are"
    raise AuditVerificationError(
        f"{which} not what was sealed by the checkpoint of size {tree.size} {seal.place}.",
        "What is there holds together in itself: it was written anew.",
        seq=sealed,
    )


def _missing_entries(seal: _VerifiedCheckpoint, size: int) -> None:
    raise AuditVerificationError(
        f"Entry {size} is missing: the log ends with {size} entries, "
        f"but {seal.checkpoint.size} were sealed by the checkpoint {seal.place}.",
        "The end of the log was cut off, or the folder was put back to an older state.",
        seq=size,
    )
