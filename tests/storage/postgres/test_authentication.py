"""Test the MACs of rows, and the set hash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.postgres.authentication import DocumentSet, Head, RowAuthenticator
from tests.support.store_helpers import CREDENTIALS

HEAD = Head(1, 2, "a", "b", 3, 4, "c", 5)
OTHER_FIELDS = Head(9, 9, "x", "x", 9, 9, "x", 9)

authenticator = RowAuthenticator(CREDENTIALS)


def test_document_mac_covers_each_field() -> None:
    rows = [
        ("tasks", "a", 1, b"{}"),
        ("task", "sa", 1, b"{}"),
        ("tasks", "b", 1, b"{}"),
        ("tasks", "a", 2, b"{}"),
        ("tasks", "a", 1, b"{ }"),
        ('tasks","a', "", 1, b"{}"),
        ("tasks", "a", 1, b'\n["document","w1","tasks","a",1]\n{}'),
    ]
    other_workspace = RowAuthenticator(StoreCredentials(CREDENTIALS.key, "w2"))
    other_key = RowAuthenticator(StoreCredentials(bytes(32), "w1"))
    macs = {authenticator.compute_document_mac(*row) for row in rows}
    macs |= {other.compute_document_mac(*rows[0]) for other in (other_workspace, other_key)}
    assert len(macs) == len(rows) + 2


def test_head_mac_covers_each_field_and_the_set_hash() -> None:
    heads = [HEAD, *(HEAD._replace(**{name: getattr(OTHER_FIELDS, name)}) for name in Head._fields)]
    macs = {authenticator.compute_head_mac(head, 7) for head in heads} | {authenticator.compute_head_mac(HEAD, 8)}
    assert len(macs) == len(heads) + 1


def test_kinds_of_rows_have_different_keys() -> None:
    mac = authenticator.compute_document_mac("tasks", "a", 1, b"{}")
    assert authenticator.compute_event_mac(1, b"{}") != mac
    assert authenticator.compute_addend(mac) != int.from_bytes(mac)


Changes = dict[tuple[str, str], int | None]

addends = st.integers(0, 2**256 - 1)
changes = st.dictionaries(
    st.tuples(st.sampled_from(["tasks", "keys"]), st.sampled_from("abc")), st.none() | addends, max_size=6
)


@given(st.lists(changes, max_size=6))
def test_sum_depends_only_on_the_documents(all_changes: list[Changes]) -> None:
    changed_set, documents = DocumentSet(), dict[tuple[str, str], int]()
    for each in all_changes:
        expected_sum = changed_set.sum_after(each)
        changed_set.apply(each)
        assert changed_set.sum == expected_sum
        documents.update({key: addend for key, addend in each.items() if addend is not None})
        for key in [key for key, addend in each.items() if addend is None]:
            documents.pop(key, None)
    loaded_set = DocumentSet()
    assert all(loaded_set.add(*key, addend) for key, addend in sorted(documents.items()))
    assert loaded_set.sum == changed_set.sum
    assert all(loaded_set.contains(*key) and not loaded_set.add(*key, 1) for key in documents)
