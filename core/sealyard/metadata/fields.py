"""The parsed content of a metadata file, and the limits that protect against hostile files."""

from __future__ import annotations

import json
from typing import TypeAlias

Node: TypeAlias = "dict[str, Node] | list[Node] | str"
"""A value in a metadata file: an object by name, a list, or the text of a single value.

Strings are JSON texts with quotation marks, so that ``"1"`` differs from ``1``. All other values are the texts that the
file contains, so that no digit of a number is lost.
"""

MAX_BYTES = 65536
"""Maximum size of a file that is parsed; also the maximum size of the metadata in an se-1 container."""
MAX_DEPTH = 32
MAX_VALUES = 10_000
"""Maximum number of values in a file, counted after the aliases of YAML have been expanded."""


class MetadataSyntaxError(Exception):
    """The file does not have the syntax of its format. ``line`` and ``column`` start at 1; 0 if they are unknown."""

    def __init__(self, line: int = 0, column: int = 0) -> None:
        super().__init__(line, column)
        self.line = line
        self.column = column


class RepeatedNameError(Exception):
    """An object in the file contains ``name`` more than once, and programs differ in which value they use."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class MetadataLimitError(Exception):
    """The file exceeds a limit of this module and was therefore not parsed completely."""


class ValueCounter:
    """Enforces the limits while a tree of nodes is built. Raises :class:`MetadataLimitError` if one is exceeded."""

    def __init__(self) -> None:
        self._count = 0

    def check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise MetadataLimitError

    def add(self, count: int = 1) -> None:
        self._count += count
        if self._count > MAX_VALUES:
            raise MetadataLimitError


def string_node(text: str) -> str:
    """Return the node of a string."""
    return json.dumps(text, ensure_ascii=False)


def add_field(fields: dict[str, Node], name: str, node: Node) -> None:
    """Add a field to an object. Raises :class:`RepeatedNameError` if it already has one of this name."""
    if name in fields:
        raise RepeatedNameError(name)
    fields[name] = node
