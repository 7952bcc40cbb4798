"""Tests of the Merkle tree against published vectors and the definition in RFC 6962."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    extension_proof,
    inclusion_proof,
    leaf_hash,
    merkle_root,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from sealyard.model.errors import AuditVerificationError

# Source of all constants: github.com/transparency-dev/merkle, testonly/constants.go and
# testonly/reference_test.go, the vectors of the Certificate Transparency reference code (RFC 6962).
INPUTS = [
    bytes.fromhex(each)
    for each in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = [
    (0, 1, []),
    (0, 2, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"]),
    (1, 2, ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
]
LEAVES = [leaf_hash(each) for each in INPUTS]

sizes = st.integers(1, 70)


def make_leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def recursive_root(leaves: list[bytes]) -> bytes:
    """Compute the Merkle tree hash by the recursive definition of RFC 6962."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(recursive_root(leaves[:split]), recursive_root(leaves[split:]))


@pytest.mark.parametrize("size", range(9))
def test_root_matches_reference(size: int) -> None:
    assert merkle_root(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_inclusion_proof_matches_reference(index: int, size: int, proof: list[str]) -> None:
    assert [each.hex() for each in inclusion_proof(LEAVES[:size], index)] == proof
    verify_inclusion(LEAVES[index], index, size, [bytes.fromhex(each) for each in proof], merkle_root(LEAVES[:size]))


@pytest.mark.parametrize(("old", "size", "proof"), CONSISTENCY)
def test_consistency_proof_matches_reference(old: int, size: int, proof: list[str]) -> None:
    assert [each.hex() for each in consistency_proof(LEAVES[:size], old)] == proof
    hashes = [bytes.fromhex(each) for each in proof]
    verify_consistency(old, bytes.fromhex(ROOTS[old]), size, bytes.fromhex(ROOTS[size]), hashes)


def test_empty_tree_root_is_empty_hash() -> None:
    assert Frontier().root() == EMPTY_ROOT == bytes.fromhex(ROOTS[0])


def test_leaf_and_node_hashes_differ() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@settings(deadline=None)
@given(sizes)
def test_frontier_root_matches_recursive_definition(size: int) -> None:
    leaves = make_leaves(size)
    tree = Frontier()
    for count, leaf in enumerate(leaves, start=1):
        tree.append(leaf)
        assert (tree.size, tree.root()) == (count, recursive_root(leaves[:count]))


@settings(deadline=None)
@given(sizes, st.data())
def test_inclusion_proof_verifies_every_leaf(size: int, data: st.DataObject) -> None:
    leaves, index = make_leaves(size), data.draw(st.integers(0, size - 1))
    verify_inclusion(leaves[index], index, size, inclusion_proof(leaves, index), merkle_root(leaves))


@settings(deadline=None)
@given(sizes, st.data())
def test_consistency_proof_verifies_every_prefix(size: int, data: st.DataObject) -> None:
    leaves, old = make_leaves(size), data.draw(st.integers(1, size))
    verify_consistency(old, merkle_root(leaves[:old]), size, merkle_root(leaves), consistency_proof(leaves, old))


@settings(deadline=None)
@given(sizes, st.data())
def test_wrong_inclusion_proof_is_rejected(size: int, data: st.DataObject) -> None:
    leaves, index = make_leaves(size), data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(leaves, index), merkle_root(leaves)
    wrong_cases = [
        (leaves[index], index, size, [*proof, root], root),
        (leaves[index], index, size, proof, leaf_hash(b"another root")),
        (leaf_hash(b"another entry"), index, size, proof, root),
        (leaves[index], size, size, proof, root),
        (leaves[index], -1, size, proof, root),
    ]
    if proof:
        wrong_cases.append((leaves[index], index, size, proof[:-1], root))
        wrong_cases.append((leaves[index], index, size, proof[1:], root))
    if size > 1:
        wrong_cases.append((leaves[index], (index + 1) % size, size, proof, root))
    for case in wrong_cases:
        with pytest.raises(AuditVerificationError):
            verify_inclusion(*case)


@settings(deadline=None)
@given(sizes, st.data())
def test_wrong_consistency_proof_is_rejected(size: int, data: st.DataObject) -> None:
    leaves, old = make_leaves(size), data.draw(st.integers(1, size))
    proof = consistency_proof(leaves, old)
    old_root, root, other = merkle_root(leaves[:old]), merkle_root(leaves), leaf_hash(b"another root")
    wrong_cases = [
        (old, old_root, size, root, [*proof, other]),
        (old, other, size, root, proof),
        (old, old_root, size, other, proof),
        (size + 1, old_root, size, root, proof),
        (0, old_root, size, root, proof),
    ]
    if proof:
        wrong_cases.append((old, old_root, size, root, proof[:-1]))
        wrong_cases.append((old, old_root, size, root, proof[1:]))
    for case in wrong_cases:
        with pytest.raises(AuditVerificationError):
            verify_consistency(*case)


@pytest.mark.parametrize("size", [0, 9])
def test_proof_outside_the_tree_raises(size: int) -> None:
    with pytest.raises(AuditVerificationError):
        consistency_proof(LEAVES, size)
    with pytest.raises(AuditVerificationError):
        inclusion_proof(LEAVES, size - 1 if size == 0 else 8)


@given(st.integers(1, 70), st.integers(0, 70))
def test_extension_proof_equals_consistency_proof(old_size: int, new_count: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(old_size + new_count)]
    frontier = Frontier()
    for leaf in leaves[:old_size]:
        frontier.append(leaf)
    assert extension_proof(frontier, leaves[old_size:]) == consistency_proof(leaves, old_size)
    assert frontier.root() == merkle_root(leaves[:old_size])


def test_empty_log_has_no_extension_proof() -> None:
    with pytest.raises(AuditVerificationError):
        extension_proof(Frontier(), [leaf_hash(b"")])


@pytest.mark.parametrize("size", range(9))
def test_restored_tree_continues(size: int) -> None:
    leaves = [leaf_hash(data) for data in INPUTS]
    tree = Frontier()
    for leaf in leaves[:size]:
        tree.append(leaf)
    restored = Frontier.restore(tree.size, tree.peaks)
    for leaf in leaves[size:]:
        restored.append(leaf)
    assert restored.root() == bytes.fromhex(ROOTS[len(leaves)])


@pytest.mark.parametrize(("size", "lengths"), [(0, [32]), (1, []), (3, [32]), (3, [32, 32, 32]), (2, [31]), (2, [33])])
def test_tree_with_wrong_peaks_is_not_restored(size: int, lengths: list[int]) -> None:
    with pytest.raises(AuditVerificationError):
        Frontier.restore(size, [bytes(length) for length in lengths])
