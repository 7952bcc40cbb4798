"""Streaming parser for multipart/form-data (RFC 7578): text fields as values, files as unbuffered streams."""

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
"""Maximum size of a text field."""

MAX_HEADER_BYTES = 2048
MAX_HEADERS = 4
"""Maximum number of headers of a part."""

MAX_BOUNDARY_LENGTH = 70
"""Maximum length of the boundary in characters (RFC 2046, section 5.1.1)."""

HINT = "Send a form like browsers and `curl -F` do."

ParserEvents = AsyncGenerator[MultipartSegment | bytes | None, None]
"""Events of the parser. For each part: its head, its content in chunks, and None at its end."""


@dataclass(frozen=True)
class TextPart:
    """A text field in a form."""

    name: str
    value: str


@dataclass(frozen=True)
class FilePart:
    """A file in a form.

    ``content``: stream of the file's bytes; it can be read until the next part is requested. ``file_name``: untrusted
    text.
    """

    name: str
    file_name: str
    content: AsyncIterator[bytes]


async def iter_parts(content_type: str, body: AsyncIterator[bytes]) -> AsyncIterator[TextPart | FilePart]:
    """Yield the parts of a form in order.

    Raises :class:`InvalidInputError` if the form is invalid or incomplete, and :class:`TooLargeError` if it has too
    many parts, or headers or texts that are too long. Reading the ``content`` of a file can raise both as well.
    """
    events = _parse_events(_parse_boundary(content_type), body)
    async for head in events:
        assert isinstance(head, MultipartSegment)
        if not head.name:
            raise InvalidInputError("Missing name of a form part.", HINT)
        if head.filename is None:
            yield TextPart(head.name, await _read_text(head.name, events))
            continue
        file = FilePart(head.name, head.filename, _read_content(events))
        yield file
        async for _ in file.content:  # discard what the caller did not read
            pass


async def _read_content(events: ParserEvents) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            return
        assert isinstance(event, bytes)
        yield event


async def _read_text(name: str, events: ParserEvents) -> str:
    value = bytearray()
    async for chunk in _read_content(events):
        value += chunk
        if len(value) > MAX_TEXT_BYTES:
            raise TooLargeError(
                f"Form field {escape_text(name, 80)} too long: at most {MAX_TEXT_BYTES:,} bytes.",
                "Send files as file parts.",
            )
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"Form field {escape_text(name, 80)} is not UTF-8 text.", HINT) from None


async def _parse_events(boundary: str, body: AsyncIterator[bytes]) -> ParserEvents:
    parser = PushMultipartParser(
        boundary, max_header_size=MAX_HEADER_BYTES, max_header_count=MAX_HEADERS, max_segment_count=MAX_PARTS
    )
    try:
        async for chunk in _require_boundary(boundary, body):
            for event in parser.parse(chunk):
                yield event
        parser.close()
    except MultipartError as error:
        raise _parse_error(error) from error


async def _require_boundary(boundary: str, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks of a body that starts with its boundary.

    Raises :class:`InvalidInputError` if there is a preamble before the boundary. No known client sends one, and the
    parser's result would depend on how the preamble is split into chunks.
    """
    delimiter = f"--{boundary}".encode()
    start = b""
    async for chunk in body:
        start += chunk
        if len(start) >= len(delimiter):
            break
    if not start.startswith(delimiter):
        raise InvalidInputError("Invalid form: it does not start with its boundary.", HINT)
    yield start
    async for chunk in body:
        if chunk:
            yield chunk


def _parse_boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)
    boundary: str = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH or not boundary.isascii():
        raise InvalidInputError("Invalid form: not multipart/form-data with a boundary.", HINT)
    return boundary


def _parse_error(error: MultipartError) -> SealyardError:
    if isinstance(error, ParserLimitReached):
        return TooLargeError(f"Form too large: {error}.", "Send fewer parts and shorter names.")
    return InvalidInputError(f"Invalid form: {error}.", HINT)
