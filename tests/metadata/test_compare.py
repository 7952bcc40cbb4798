"""Tests of the comparison of two versions of a metadata file."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.metadata.checks import compare_metadata, metadata_warning
from sealyard.metadata.compare import compare_fields
from sealyard.metadata.fields import MAX_BYTES, Node
from sealyard.model.metadata_changes import MAX_FIELD_CHANGES, FieldChange


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, []),
        ({"version": '"0.9.2"'}, {"version": '"0.9.4"'}, [("version", '"0.9.2"', '"0.9.4"')]),
        ({"a": '"1"'}, {"a": "1"}, [("a", '"1"', "1")]),
        ({"a": "1"}, {"b": "1"}, [("a", "1", None), ("b", None, "1")]),
        ({"a": {"x": "1", "y": ["2"]}}, {}, [("a.x", "1", None), ("a.y[0]", "2", None)]),
        ({}, {"a": {}, "b": []}, [("a", None, "{}"), ("b", None, "[]")]),
        ({"a": "1"}, {"a": {"x": "1"}}, [("a", "1", None), ("a.x", None, "1")]),
        ({"a.b": {'"': "1"}}, {"a.b": {'"': "2"}}, [('"a.b"."\\""', "1", "2")]),
        (["1", "2", "3"], ["0", "1", "2", "3"], [("[0]", None, "0")]),
        (["1", "2", "3"], ["1", "3"], [("[1]", "2", None)]),
        (["1", "2", "3"], ["1", "9", "3", "4"], [("[1]", "2", "9"), ("[3]", None, "4")]),
        ({"p": [{"id": "1", "v": "1"}]}, {"p": [{"id": "1", "v": "2"}]}, [("p[0].v", "1", "2")]),
        ("1", "2", [("", "1", "2")]),
    ],
)
def test_changed_fields_are_listed(old: Node, new: Node, expected: list[tuple[str, str | None, str | None]]) -> None:
    assert list(compare_fields(old, new)) == [
        FieldChange(path=path, old=before, new=after) for path, before, after in expected
    ]


nodes = st.recursive(
    st.sampled_from(["1", "2", '"x"']),
    lambda children: st.one_of(st.lists(children, max_size=4), st.dictionaries(st.sampled_from("abc"), children)),
    max_leaves=12,
)


@settings(deadline=None)
@given(nodes, nodes)
def test_files_differ_exactly_if_a_change_is_listed(old: Node, new: Node) -> None:
    changes = list(compare_fields(old, new))
    assert bool(changes) == (old != new)
    assert all(change.old != change.new for change in changes)
    assert not list(compare_fields(old, copy.deepcopy(old)))


def test_changes_are_limited() -> None:
    old = "\n".join(f"a{number} = 1" for number in range(MAX_FIELD_CHANGES + 5)).encode()
    changes = compare_metadata("a.toml", old, "a.toml", old.replace(b"= 1", b"= 2"))
    assert len(changes.fields) == MAX_FIELD_CHANGES
    assert changes.omitted == 5


@pytest.mark.parametrize(
    ("old_name", "old", "new_name", "new", "problem"),
    [
        ("a.txt", b"1", "a.txt", b"2", "Only JSON, TOML, YAML and INI files are compared field by field."),
        ("a.json", b"1", "a.yaml", b"2", "Only JSON, TOML, YAML and INI files are compared field by field."),
        ("a.json", b"1", "a.json", b"{bad", "The new version is not valid JSON: line 1, column 2."),
        ("a.ini", b"x", "a.ini", b"x=1", "The old version is not valid INI: line 1, column 1."),
    ],
)
def test_files_that_cannot_be_compared(old_name: str, old: bytes, new_name: str, new: bytes, problem: str) -> None:
    changes = compare_metadata(old_name, old, new_name, new)
    assert (changes.problem, changes.fields) == (problem, ())


@pytest.mark.parametrize(
    ("name", "data", "warning"),
    [
        ("ok.json", b"{}", ""),
        ("notes.txt", b"{bad", ""),
        ("bad.json", b"{bad", "bad.json is not valid JSON: line 1, column 2."),
        ("twice.json", b'{"a":1,"a":2}', "twice.json contains the name a more than once."),
        ("twice.toml", b"a=1\na=2\n", "twice.toml is not valid TOML: line 2, column 4."),
        ("deep.yml", b"[" * 50 + b"]" * 50, "deep.yml is too complex and was not checked."),
        ("big.json", b" " * (MAX_BYTES + 1), "big.json is larger than 64.0 KiB and was not checked."),
        ("\x1b[31m.json", b"", "\\x1b[31m.json is not valid JSON: line 1, column 1."),
    ],
)
def test_warning_names_file_and_position(name: str, data: bytes, warning: str) -> None:
    assert metadata_warning(name, data) == warning
