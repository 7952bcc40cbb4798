"""Merkle trees (RFC 6962, section 2.1): roots, inclusion proofs and consistency proofs.

All functions take leaf hashes (32 bytes each). A proof is a list of sibling hashes from the bottom up. Proofs are
verified with the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Self

from sealyard.model.errors import AuditVerificationError

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf with the content ``entry``.

    Leaves and inner nodes are hashed with different prefixes, so that one cannot be substituted for the other.
    """
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing Merkle tree that stores only the roots of its perfect subtrees.

    There is one perfect subtree for each bit set in ``size``, the largest first. :meth:`append` takes O(log n) in the
    worst case and O(1) on average; :meth:`root` takes O(log n).
    """

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        carry, remaining_bits = leaf, self.size
        while remaining_bits & 1:
            carry = node_hash(self._peaks.pop(), carry)
            remaining_bits >>= 1
        self._peaks.append(carry)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def copy(self) -> Frontier:
        frontier = Frontier()
        frontier.size, frontier._peaks = self.size, list(self._peaks)
        return frontier

    @classmethod
    def restore(cls, size: int, peaks: Sequence[bytes]) -> Self:
        """Return the tree with ``size`` leaves and the roots of perfect subtrees that :attr:`peaks` has returned.

        The caller must verify its root, which no other roots of subtrees can have. Raises
        :class:`AuditVerificationError` if their number or lengths are wrong.
        """
        if len(peaks) != size.bit_count() or any(len(peak) != len(EMPTY_ROOT) for peak in peaks):
            raise AuditVerificationError(f"A tree with {size} leaves has other perfect subtrees.")
        frontier = cls()
        frontier.size, frontier._peaks = size, list(peaks)
        return frontier

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, the largest first."""
        return tuple(self._peaks)

    def peaks_by_start(self) -> dict[int, bytes]:
        """Return the roots of the perfect subtrees by the index of their first leaf."""
        starts: dict[int, bytes] = {}
        start = 0
        for exponent in reversed(range(self.size.bit_length())):
            if self.size >> exponent & 1:
                starts[start] = self._peaks[len(starts)]
                start += 1 << exponent
        return starts


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return PATH(index, leaves) of RFC 6962. Raises :class:`AuditVerificationError` if there is no leaf ``index``."""
    return subtree_roots(leaves, inclusion_subtrees(index, len(leaves)))


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Return PROOF(size, leaves) of RFC 6962.

    The result proves that the tree over ``leaves`` extends the tree over its first ``size`` leaves. Raises
    :class:`AuditVerificationError` if ``size`` is not between 1 and the number of leaves.
    """
    return subtree_roots(leaves, consistency_subtrees(size, len(leaves)))


def inclusion_subtrees(index: int, size: int) -> list[range]:
    """Return the subtrees whose roots are the inclusion proof of leaf ``index`` in a tree with ``size`` leaves.

    Each subtree is the range of its leaves. Raises :class:`AuditVerificationError` if there is no leaf ``index``.
    """
    if not 0 <= index < size:
        raise AuditVerificationError(f"Entry {index} does not exist in a log of size {size}.")
    subtrees = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split_point(end - start)
        if index < split:
            subtrees.append(range(split, end))
            end = split
        else:
            subtrees.append(range(start, split))
            start = split
    return subtrees[::-1]


def consistency_subtrees(old_size: int, size: int) -> list[range]:
    """Return the subtrees whose roots are the consistency proof between trees of ``old_size`` and ``size`` leaves.

    Each subtree is the range of its leaves. Raises :class:`AuditVerificationError` if ``old_size`` is not between 1 and
    ``size``.
    """
    if not 0 < old_size <= size:
        raise AuditVerificationError(f"A log of size {size} has no consistency proof for size {old_size}.")
    subtrees = []
    start, end = 0, size
    while old_size != end:
        split = start + _split_point(end - start)
        if old_size <= split:
            subtrees.append(range(split, end))
            end = split
        else:
            subtrees.append(range(start, split))
            start = split
    if start:  # otherwise, the verifier knows the root of the last subtree: it is the root of the old tree
        subtrees.append(range(start, end))
    return subtrees[::-1]


def subtree_roots(leaves: Iterable[bytes], subtrees: Sequence[range]) -> list[bytes]:
    """Return the roots of disjoint subtrees, reading ``leaves`` once and only as far as necessary."""
    trees = {subtree: Frontier() for subtree in subtrees}
    pending = deque(sorted(subtrees, key=lambda subtree: subtree.start))
    for index, leaf in enumerate(leaves):
        if pending and index == pending[0].stop:
            pending.popleft()
        if not pending:
            break
        if index in pending[0]:
            trees[pending[0]].append(leaf)
    return [trees[subtree].root() for subtree in subtrees]


def extension_proof(frontier: Frontier, new_leaves: Sequence[bytes]) -> list[bytes]:
    """Return the consistency proof from the tree of ``frontier`` to the tree with ``new_leaves`` appended.

    The result is that of :func:`consistency_proof`, without the leaves of the old tree: those parts of it that a proof
    needs are perfect subtrees. Raises :class:`AuditVerificationError` if the old tree is empty.
    """
    if frontier.size == 0:
        raise AuditVerificationError("An empty log has no consistency proof.")
    peaks = frontier.peaks_by_start()
    old_size = frontier.size

    def prove(start: int, end: int, *, is_complete: bool) -> list[bytes]:
        if old_size == end:
            return [] if is_complete else [peaks[start]]
        split = start + _split_point(end - start)
        if old_size <= split:
            right = merkle_root(new_leaves[split - old_size : end - old_size])
            return [*prove(start, split, is_complete=is_complete), right]
        return [*prove(split, end, is_complete=False), peaks[start]]

    return prove(0, old_size + len(new_leaves), is_complete=True)


def _split_point(count: int) -> int:
    """Return the largest power of two smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that ``leaf`` is leaf number ``index`` of the tree with ``size`` leaves and the given ``root``.

    Raises :class:`AuditVerificationError` if the proof is wrong.
    """
    if not 0 <= index < size:
        raise AuditVerificationError(f"Entry {index} does not exist in a log of size {size}.")
    node, last, current_hash = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise AuditVerificationError("The inclusion proof is too long.")
        if node & 1 or node == last:
            current_hash = node_hash(sibling, current_hash)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current_hash = node_hash(current_hash, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise AuditVerificationError("The inclusion proof is too short.")
    if current_hash != root:
        raise AuditVerificationError("The inclusion proof does not match the root.")


def verify_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Verify that the log of ``size`` entries starts with the log of ``old_size`` entries.

    Raises :class:`AuditVerificationError` if the proof is wrong.
    """
    if not 0 < old_size <= size:
        raise AuditVerificationError(f"A log of size {size} cannot extend one of size {old_size}.")
    if old_size == size:
        if proof or old_root != root:
            raise AuditVerificationError("Two logs of the same size have different roots or an unexpected proof.")
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise AuditVerificationError("The consistency proof is too short.")
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_hash = new_hash = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise AuditVerificationError("The consistency proof is too long.")
        if node & 1 or node == last:
            old_hash, new_hash = node_hash(sibling, old_hash), node_hash(sibling, new_hash)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_hash = node_hash(new_hash, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise AuditVerificationError("The consistency proof is too short.")
    if old_hash != old_root or new_hash != root:
        raise AuditVerificationError(
            "The consistency proof does not match the roots: one log does not extend the other."
        )
