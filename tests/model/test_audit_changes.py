"""Test the changed fields of audit entries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.audit_changes import AuditChange, find_changes, format_change

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=4)


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(change.path, change.old, change.new) for change in find_changes(old, new)]


def test_changed_added_and_removed_fields_are_found() -> None:
    assert _changes({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}) == [("b", 2, 4), ("c", 3, None), ("d", None, 5)]


def test_nested_fields_have_paths() -> None:
    old = {"keys": [{"uri": "k", "version": 1}], "limits": {"size": 1}, "events": ["a"]}
    new = {"keys": [{"uri": "k", "version": 2}, {"uri": "n"}], "limits": {"size": 2}, "events": ["a", "b"]}
    assert _changes(old, new) == [
        ("keys[0].version", 1, 2),
        ("limits.size", 1, 2),
        ("events", ["a"], ["a", "b"]),
        ("keys[1].uri", None, "n"),
    ]


@given(objects)
def test_equal_values_have_no_changes(value: dict[str, Any]) -> None:
    assert find_changes(value, value) == ()


@given(objects, objects)
def test_changes_are_symmetric(old: dict[str, Any], new: dict[str, Any]) -> None:
    forward = {(change.path, str(change.old), str(change.new)) for change in find_changes(old, new)}
    assert forward == {(change.path, str(change.new), str(change.old)) for change in find_changes(new, old)}


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (1, 2, "field: 1 → 2"),
        (None, True, "field: none → true"),
        (["a"], None, 'field: ["a"] → none'),
        ("", "x", 'field: "" → x'),
        ("a\x1bb", "c", "field: a\\x1bb → c"),
    ],
)
def test_change_is_formatted_as_safe_text(old: object, new: object, text: str) -> None:
    assert format_change(AuditChange(path="field", old=old, new=new)) == text
