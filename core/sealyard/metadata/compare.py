"""Compare two versions of a metadata file field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from sealyard.metadata.fields import Node
from sealyard.model.metadata_changes import FieldChange

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")


def compare_fields(old: Node, new: Node) -> Iterator[FieldChange]:
    """Yield the differences between two parsed files: changed and removed fields, then added ones, in file order."""
    yield from _compare(old, new, "")


def _compare(old: Node, new: Node, path: str) -> Iterator[FieldChange]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _compare_objects(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _compare_lists(old, new, path)
    elif isinstance(old, str) and isinstance(new, str):
        yield FieldChange(path=path, old=old, new=new)
    else:
        yield from _list_values(old, path, is_new=False)
        yield from _list_values(new, path, is_new=True)


def _compare_objects(old: dict[str, Node], new: dict[str, Node], path: str) -> Iterator[FieldChange]:
    for name, value in old.items():
        if name in new:
            yield from _compare(value, new[name], _join_name(path, name))
        else:
            yield from _list_values(value, _join_name(path, name), is_new=False)
    for name, value in new.items():
        if name not in old:
            yield from _list_values(value, _join_name(path, name), is_new=True)


def _compare_lists(old: list[Node], new: list[Node], path: str) -> Iterator[FieldChange]:
    """Compare two lists. Equal items at both ends are matched first, so that an insertion is one change.

    The positions in paths are those of the new list, except for removed items.
    """
    shorter = min(len(old), len(new))
    start = next((index for index in range(shorter) if old[index] != new[index]), shorter)
    same_at_end = next(
        (count for count in range(shorter - start) if old[-1 - count] != new[-1 - count]), shorter - start
    )
    old_end, new_end = len(old) - same_at_end, len(new) - same_at_end
    paired_end = min(old_end, new_end)
    for index in range(start, paired_end):
        yield from _compare(old[index], new[index], f"{path}[{index}]")
    for index in range(paired_end, old_end):
        yield from _list_values(old[index], f"{path}[{index}]", is_new=False)
    for index in range(paired_end, new_end):
        yield from _list_values(new[index], f"{path}[{index}]", is_new=True)


def _list_values(node: Node, path: str, *, is_new: bool) -> Iterator[FieldChange]:
    """Yield each single value in ``node`` as added or removed."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _list_values(value, _join_name(path, name), is_new=is_new)
    elif isinstance(node, list) and node:
        for index, value in enumerate(node):
            yield from _list_values(value, f"{path}[{index}]", is_new=is_new)
    else:
        text = node if isinstance(node, str) else "{}" if isinstance(node, dict) else "[]"
        yield FieldChange(path=path, new=text) if is_new else FieldChange(path=path, old=text)


def _join_name(path: str, name: str) -> str:
    segment = name if _PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{path}.{segment}" if path else segment
