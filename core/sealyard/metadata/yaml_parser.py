"""Parse YAML files from the events of PyYAML. No Python object is ever constructed from a tag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from sealyard.metadata.fields import (
    MetadataLimitError,
    MetadataSyntaxError,
    Node,
    ValueCounter,
    add_field,
    string_node,
)

_STRING_TAG = "tag:yaml.org,2002:str"
_STANDARD_PREFIX = "tag:yaml.org,2002:"


class _Subtree(NamedTuple):
    """A node, and the number and depth of the values in it, which count again for each alias that refers to it."""

    node: Node
    value_count: int
    depth: int


def parse_yaml(text: str) -> Node:
    """Parse a YAML file. A file with several documents becomes a list of them.

    Raises :class:`MetadataSyntaxError`, :class:`RepeatedNameError` and :class:`MetadataLimitError`, see
    :func:`sealyard.metadata.parser.parse_metadata`.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = _Builder(yaml.parse(text, Loader=loader)).build_documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise MetadataSyntaxError(*(mark.line + 1, mark.column + 1) if mark is not None else (0, 0)) from None
    except yaml.YAMLError:
        raise MetadataSyntaxError from None
    return documents[0] if len(documents) == 1 else list(documents)


class _Builder:
    """Builds nodes from a stream of events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._resolver = yaml.resolver.Resolver()
        self._counter = ValueCounter()
        self._anchors: dict[str, _Subtree] = {}

    def build_documents(self) -> list[Node]:
        documents: list[Node] = []
        for event in self._events:
            if _kind(event) == "DocumentStart":
                self._anchors.clear()
                documents.append(self._build(next(self._events), 0).node)
        return documents

    def _build(self, event: Any, depth: int) -> _Subtree:
        """Build the node that starts with ``event``, consuming its other events."""
        self._counter.check_depth(depth)
        if _kind(event) == "Alias":
            return self._expand_alias(event, depth)
        self._counter.add()
        if _kind(event) == "Scalar":
            subtree = _Subtree(self._format_scalar(event), 1, 0)
        elif _kind(event) == "SequenceStart":
            subtree = self._build_sequence(depth)
        else:
            subtree = self._build_mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = subtree
        return subtree

    def _expand_alias(self, event: Any, depth: int) -> _Subtree:
        subtree = self._anchors.get(event.anchor)
        if subtree is None:
            # The anchor does not exist, or the alias is inside the value that it refers to.
            raise MetadataSyntaxError(event.start_mark.line + 1, event.start_mark.column + 1)
        self._counter.add(subtree.value_count)
        self._counter.check_depth(depth + subtree.depth)
        return subtree

    def _build_sequence(self, depth: int) -> _Subtree:
        children = []
        while _kind(event := next(self._events)) != "SequenceEnd":
            children.append(self._build(event, depth + 1))
        return _join_subtrees([child.node for child in children], children)

    def _build_mapping(self, depth: int) -> _Subtree:
        children = []
        fields: dict[str, Node] = {}
        while _kind(event := next(self._events)) != "MappingEnd":
            if _kind(event) != "Scalar":
                raise MetadataLimitError
            if event.anchor is not None:
                self._anchors[event.anchor] = _Subtree(self._format_scalar(event), 1, 0)
            child = self._build(next(self._events), depth + 1)
            add_field(fields, event.value, child.node)
            children.append(child)
        return _join_subtrees(fields, children)

    def _format_scalar(self, event: Any) -> str:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag == _STRING_TAG:
            return string_node(event.value)
        value = event.value if event.implicit[0] else f"!{tag.removeprefix(_STANDARD_PREFIX)} {event.value}"
        return str(value) or "null"


def _kind(event: Any) -> str:
    return type(event).__name__.removesuffix("Event")


def _join_subtrees(node: Node, children: list[_Subtree]) -> _Subtree:
    return _Subtree(
        node, 1 + sum(child.value_count for child in children), 1 + max((child.depth for child in children), default=0)
    )
