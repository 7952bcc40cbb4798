"""Metadata for approvers: JSON formatted and coloured, text unchanged, anything else as bytes.

JSON is formatted token by token and never parsed into values: a duplicate name, or a number that a parser would round,
is shown as it will be released.
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
HEX_ROW = 16
TAB = 4
MAX_DEPTH = 20
"""Levels of JSON that are indented: foreign JSON may have a thousand."""


class MetadataKind(StrEnum):
    """How metadata is shown."""

    JSON = "JSON"
    TEXT = "text"
    BINARY = "binary"
    EMPTY = "empty"


class RenderedMetadata(FrozenStruct, frozen=True, kw_only=True):
    """``content`` is safe; ``omitted`` tells which part of the file is missing, and is empty if none is."""

    kind: MetadataKind
    content: Content
    omitted: str = ""


def render_metadata(beginning: bytes, size: int, *, all_of_it: bool = False) -> RenderedMetadata:
    """Render the first bytes of a file of ``size`` bytes. ``all_of_it``: do not shorten them, for a pager."""
    if not size:
        return RenderedMetadata(kind=MetadataKind.EMPTY, content=Content(""))
    whole = len(beginning) >= size
    text = _text(beginning, whole=whole)
    if text is None:
        return _binary(beginning, size, HEX_BYTES if not all_of_it else len(beginning))
    kind = MetadataKind.JSON if _is_json(text, whole=whole) else MetadataKind.TEXT
    lines = _json_lines(text) if kind is MetadataKind.JSON else (Content(_safe(line)) for line in _lines(text))
    shown = list(lines if all_of_it else itertools.islice(lines, MAX_LINES))
    more = sum(1 for _ in lines)
    return RenderedMetadata(kind=kind, content=Content("\n").join(shown), omitted=_describe_omitted(more, whole, size))


def _describe_omitted(more: int, whole: bool, size: int) -> str:
    if more:
        return f"only the first {MAX_LINES} lines are shown, {more:,}{'' if whole else ' or more'} follow"
    return "" if whole else f"only the first part of {size:,} bytes is shown"


def _text(beginning: bytes, *, whole: bool) -> str | None:
    """Return the text; None if it is not text."""
    if b"\0" in beginning:
        return None
    for cut in range(1 if whole else 4):
        # The data may end in the middle of a character.
        try:
            return beginning[: len(beginning) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")


def _safe(line: str) -> str:
    return escape_text(line.expandtabs(TAB))


# ---- bytes


def _binary(beginning: bytes, size: int, limit: int) -> RenderedMetadata:
    part = beginning[:limit]
    rows = [_hex_row(offset, part[offset : offset + HEX_ROW]) for offset in range(0, len(part), HEX_ROW)]
    left_out = f"only the first {len(part)} of {size:,} bytes are shown" if len(part) < size else ""
    return RenderedMetadata(kind=MetadataKind.BINARY, content=Content("\n").join(rows), omitted=left_out)


def _hex_row(offset: int, part: bytes) -> Content:
    letters = "".join(chr(each) if 0x20 <= each < 0x7F else "·" for each in part)  # noqa: PLR2004 - printing ASCII
    return Content.assemble(
        Content.styled(f"{offset:04x}  ", "$text-muted"),
        part.hex(" ").ljust(3 * HEX_ROW),
        Content.styled(f" {letters}", "$accent"),
    )


# ---- JSON

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>[{}\[\],:])|(?P<word>[^\s{}\[\],:"]+)|(?P<rest>"[^\n]*)', re.S
)
_JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*["{\[\]\d-])')
_OPENING, _CLOSING = frozenset("{["), frozenset("}]")


def _is_json(text: str, *, whole: bool) -> bool:
    if not whole:
        return _JSON_START.match(text) is not None
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json_lines(text: str) -> Iterator[Content]:
    for depth, parts in _json_parts(text):
        yield Content.assemble("  " * min(depth, MAX_DEPTH), *parts)


def _json_parts(text: str) -> Iterator[tuple[int, list[Content]]]:
    """Yield depth and tokens of each line."""
    tokens = list(_TOKEN.finditer(text))
    depth, line_depth = 0, 0
    line: list[Content] = []
    for index, token in enumerate(tokens):
        word = token.group()
        before = tokens[index - 1].group() if index else ""
        after = tokens[index + 1].group() if index + 1 < len(tokens) else ""
        if word in _CLOSING:
            depth = max(0, depth - 1)
            if before not in _OPENING:
                yield line_depth, line
                line, line_depth = [], depth
        line.append(_token(token, is_name=after == ":"))
        if word in _OPENING:
            depth += 1
        if word == "," or (word in _OPENING and after not in _CLOSING):
            yield line_depth, line
            line, line_depth = [], depth
    if line:
        yield line_depth, line


def _token(token: re.Match[str], *, is_name: bool) -> Content:
    word = escape_text(token.group())
    if token.lastgroup == "mark":
        return Content.styled(f"{word} " if word == ":" else word, "$text-muted")
    if is_name:
        return Content.styled(word, "$accent")
    return Content.styled(word, "$success") if token.lastgroup == "string" else Content.styled(word, "$warning")
