"""multipart/form-data (RFC 7578) as it comes in: text fields as values, files as streams that nobody buffers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from sealyard.model.errors import InvalidInputError, SealyardError, TooLargeError
from sealyard.model.safe_text import escape_text

MAX_PARTS = 1024
MAX_TEXT_BYTES = 16 << 10
"""Bytes of one text field."""

MAX_HEADER_LENGTH = 2048
MAX_HEADERS = 4
MAX_BOUNDARY_LENGTH = 70
"""RFC 2046 §5.1.1."""

ADVICE = "Send a form as browsers and `curl -F` do."

Events = AsyncGenerator[MultipartSegment | bytes | None, None]
"""Of each part: its head, its content in pieces, and None at its end."""


@dataclass(frozen=True)
class TextPart:
    name: str
    value: str


@dataclass(frozen=True)
class FilePart:
    """``content`` can be read until the next part is asked for; ``file_name`` is foreign text."""

    name: str
    file_name: str
    content: AsyncIterator[bytes]


async def iter_parts(content_type: str, body: AsyncIterator[bytes]) -> AsyncIterator[TextPart | FilePart]:
    """The parts in their order.

    Raises :class:`InvalidInputError` for what is no such form, or breaks off, and :class:`TooLargeError` for more
    parts, longer headers or longer texts than are taken; from ``content`` too.
    """
    events = _events(_boundary(content_type), body)
    async for head in events:
        assert isinstance(head, MultipartSegment)
        if not head.name:
            raise InvalidInputError("A part of the form has no name.", ADVICE)
        if head.filename is None:
            yield TextPart(head.name, await _text(head.name, events))
            continue
        file = FilePart(head.name, head.filename, _content(events))
        yield file
        async for _ in file.content:  # what its reader has left
            pass


async def _content(events: Events) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            return
        assert isinstance(event, bytes)
        yield event


async def _text(name: str, events: Events) -> str:
    value = bytearray()
    async for piece in _content(events):
        value += piece
        if len(value) > MAX_TEXT_BYTES:
            raise TooLargeError(
                f"The field {escape_text(name, 80)} is longer than {MAX_TEXT_BYTES:,} bytes.", "Send files as files."
            )
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"The field {escape_text(name, 80)} is no text in UTF-8.", ADVICE) from None


async def _events(boundary: str, body: AsyncIterator[bytes]) -> Events:
    parser = PushMultipartParser(
        boundary, max_header_size=MAX_HEADER_LENGTH, max_header_count=MAX_HEADERS, max_segment_count=MAX_PARTS
    )
    try:
        async for piece in _skip_preamble(boundary, body):
            for event in parser.parse(piece):
                yield event
        parser.close()
    except MultipartError as error:
        raise _parse_error(error) from error


async def _skip_preamble(boundary: str, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Nobody sends a preamble, and what the parser makes of one depends on how it is cut."""
    opening = f"--{boundary}".encode()
    begin = b""
    async for piece in body:
        begin += piece
        if len(begin) >= len(opening):
            break
    if not begin.startswith(opening):
        raise InvalidInputError("The form does not begin with its boundary.", ADVICE)
    yield begin
    async for piece in body:
        if piece:
            yield piece


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)
    boundary: str = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH or not boundary.isascii():
        raise InvalidInputError("The body is no form with a boundary.", ADVICE)
    return boundary


def _parse_error(error: MultipartError) -> SealyardError:
    if isinstance(error, ParserLimitReached):
        return TooLargeError(f"The form is more than is taken here: {error}.", "Send fewer parts and shorter names.")
    return InvalidInputError(f"The form cannot be read: {error}.", ADVICE)
