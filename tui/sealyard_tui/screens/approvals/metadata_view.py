"""Rendering of metadata for approvers: JSON with indentation and color, plain text, or a hex dump.

JSON is formatted token by token instead of being parsed into values, so that duplicate names, and numbers that a
parser would round, are shown exactly as they will be released.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from enum import StrEnum

from textual.content import Content

from sealyard.model.base import FrozenStruct
from sealyard.model.safe_text import escape_text

MAX_LINES = 200
HEX_BYTES = 512
HEX_ROW_BYTES = 16
TAB_SIZE = 4
MAX_DEPTH = 20
"""Maximum depth of JSON indentation; untrusted JSON may be nested much deeper."""


class MetadataKind(StrEnum):
    """The format in which metadata is shown."""

    JSON = "JSON"
    TEXT = "text"
    BINARY = "binary"
    EMPTY = "empty"


class RenderedMetadata(FrozenStruct, frozen=True, kw_only=True):
    """Rendered metadata. ``content`` is escaped. ``omitted`` describes what is not shown, if anything."""

    kind: MetadataKind
    content: Content
    omitted: str = ""


def render_metadata(data: bytes, size: int, *, full: bool = False) -> RenderedMetadata:
    """Render ``data``, the first bytes of a file of ``size`` bytes.

    ``full``: whether to render all of ``data``, for a pager, instead of only its beginning.
    """
    if not size:
        return RenderedMetadata(kind=MetadataKind.EMPTY, content=Content(""))
    is_complete = len(data) >= size
    text = _decode_text(data, is_complete=is_complete)
    if text is None:
        return _render_binary(data, size, HEX_BYTES if not full else len(data))
    kind = MetadataKind.JSON if _is_json(text, is_complete=is_complete) else MetadataKind.TEXT
    lines = (
        _format_json_lines(text)
        if kind is MetadataKind.JSON
        else (Content(_escape_line(line)) for line in _split_lines(text))
    )
    visible_lines = list(lines if full else itertools.islice(lines, MAX_LINES))
    hidden_count = sum(1 for _ in lines)
    return RenderedMetadata(
        kind=kind, content=Content("\n").join(visible_lines), omitted=_describe_omitted(hidden_count, is_complete, size)
    )


def _describe_omitted(hidden_count: int, is_complete: bool, size: int) -> str:
    if hidden_count:
        return f"only the first {MAX_LINES} lines are shown, {hidden_count:,}{'' if is_complete else ' or more'} follow"
    return "" if is_complete else f"only the first part of {size:,} bytes is shown"


def _decode_text(data: bytes, *, is_complete: bool) -> str | None:
    """Decode ``data`` as UTF-8; return None if it is not text. ``is_complete``: whether it is the whole file."""
    if b"\0" in data:
        return None
    for cut_bytes in range(1 if is_complete else 4):
        # Incomplete data may end in the middle of a character.
        try:
            return data[: len(data) - cut_bytes].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None


def _split_lines(text: str) -> list[str]:
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")


def _escape_line(line: str) -> str:
    return escape_text(line.expandtabs(TAB_SIZE))


# ---- bytes


def _render_binary(data: bytes, size: int, limit: int) -> RenderedMetadata:
    part = data[:limit]
    rows = [
        _format_hex_row(offset, part[offset : offset + HEX_ROW_BYTES]) for offset in range(0, len(part), HEX_ROW_BYTES)
    ]
    omitted = f"only the first {len(part)} of {size:,} bytes are shown" if len(part) < size else ""
    return RenderedMetadata(kind=MetadataKind.BINARY, content=Content("\n").join(rows), omitted=omitted)


def _format_hex_row(offset: int, part: bytes) -> Content:
    characters = "".join(chr(each) if 0x20 <= each < 0x7F else "·" for each in part)  # noqa: PLR2004 - printing ASCII
    return Content.assemble(
        Content.styled(f"{offset:04x}  ", "$text-muted"),
        part.hex(" ").ljust(3 * HEX_ROW_BYTES),
        Content.styled(f" {characters}", "$accent"),
    )


# ---- JSON

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<punctuation>[{}\[\],:])|(?P<literal>[^\s{}\[\],:"]+)|(?P<unclosed>"[^\n]*)',
    re.S,
)
_JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*["{\[\]\d-])')
_OPENING, _CLOSING = frozenset("{["), frozenset("}]")


def _is_json(text: str, *, is_complete: bool) -> bool:
    if not is_complete:
        return _JSON_START.match(text) is not None
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _format_json_lines(text: str) -> Iterator[Content]:
    for depth, parts in _split_json_lines(text):
        yield Content.assemble("  " * min(depth, MAX_DEPTH), *parts)


def _split_json_lines(text: str) -> Iterator[tuple[int, list[Content]]]:
    """Yield the indentation depth and the rendered tokens of each line."""
    tokens = list(_TOKEN.finditer(text))
    depth, line_depth = 0, 0
    line: list[Content] = []
    for index, token in enumerate(tokens):
        text = token.group()
        previous_text = tokens[index - 1].group() if index else ""
        next_text = tokens[index + 1].group() if index + 1 < len(tokens) else ""
        if text in _CLOSING:
            depth = max(0, depth - 1)
            if previous_text not in _OPENING:
                yield line_depth, line
                line, line_depth = [], depth
        line.append(_render_token(token, is_name=next_text == ":"))
        if text in _OPENING:
            depth += 1
        if text == "," or (text in _OPENING and next_text not in _CLOSING):
            yield line_depth, line
            line, line_depth = [], depth
    if line:
        yield line_depth, line


def _render_token(token: re.Match[str], *, is_name: bool) -> Content:
    text = escape_text(token.group())
    if token.lastgroup == "punctuation":
        return Content.styled(f"{text} " if text == ":" else text, "$text-muted")
    if is_name:
        return Content.styled(text, "$accent")
    return Content.styled(text, "$success") if token.lastgroup == "string" else Content.styled(text, "$warning")
