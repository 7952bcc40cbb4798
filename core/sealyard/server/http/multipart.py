"""Streaming parser for multipart/form-data (RFC 7578): text fields as values, files as unbuffered streams."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import unquote

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from sealyard.model.errors import InputMismatchError, InvalidInputError, SealyardError, TooLargeError
from sealyard.model.safe_text import escape_text

MAX_PARTS = 1024
MAX_TEXT_BYTES = 16 << 10
"""Maximum size of a text field."""

MAX_HEADER_BYTES = 2048
MAX_HEADERS = 4
"""Maximum number of headers of a part."""

MAX_PREAMBLE_BYTES = 4 << 10

MAX_BOUNDARY_LENGTH = 70
"""Maximum length of the boundary in characters (RFC 2046, section 5.1.1)."""

HINT = "Send a form like browsers and `curl -F` do."

_EXTENDED_FILE_NAME = re.compile(r";\s*filename\*\s*=\s*(?P<charset>[\w-]+)'[^']*'(?P<value>[^;\s\"]+)", re.IGNORECASE)
_ENCODED_WORDS = re.compile(r"=\?[\w-]+\?[bBqQ]\?[^?]*\?=(\s+=\?[\w-]+\?[bBqQ]\?[^?]*\?=)*")

ParserEvents = AsyncGenerator[MultipartSegment | bytes | None, None]
"""Parser events. For each part: its head, its content in chunks, and None at its end."""


@dataclass(frozen=True)
class TextPart:
    """A text field in a form."""

    name: str
    value: str


@dataclass(frozen=True)
class FilePart:
    """A file in a form.

    ``content``: stream of the file's bytes; it can be read until the next part is requested. ``file_name``: name
    that the client sent; not to be trusted.
    """

    name: str
    file_name: str
    content: AsyncIterator[bytes]


async def iter_parts(content_type: str, body: AsyncIterator[bytes]) -> AsyncIterator[TextPart | FilePart]:
    """Yield the parts of a form in order.

    Raises :class:`InvalidInputError` if the form is invalid, :class:`InputMismatchError` if it is truncated, and
    :class:`TooLargeError` if it has too many parts, or headers or texts that are too long. Reading the ``content`` of
    a file can raise the same errors.
    """
    events = _parse_events(_parse_boundary(content_type), body)
    async for head in events:
        assert isinstance(head, MultipartSegment)
        if not head.name:
            raise InvalidInputError("Missing name of a form part.", HINT)
        file_name = _file_name(head)
        if file_name is None:
            yield TextPart(head.name, await _read_text(head.name, events))
            continue
        file = FilePart(head.name, file_name, _read_content(events))
        yield file
        async for _ in file.content:  # discard what the caller did not read
            pass


def _file_name(head: MultipartSegment) -> str | None:
    """Return the name of a file, or None for a text field.

    ``filename*`` takes precedence over ``filename`` (RFC 6266, section 4.3). RFC 7578 does not allow ``filename*``
    in forms, but .NET sends it, together with an encoded word (RFC 2047) as ``filename``.
    """
    match = _EXTENDED_FILE_NAME.search(head.header("Content-Disposition", ""))
    if match is not None:
        with suppress(LookupError, UnicodeDecodeError):
            return unquote(match["value"], encoding=match["charset"], errors="strict")
    if head.filename is None:
        return None
    name: str = head.filename
    return _decode_words(name) if _ENCODED_WORDS.fullmatch(name) else name


def _decode_words(text: str) -> str:
    try:
        return str(make_header(decode_header(text)))
    except (LookupError, UnicodeDecodeError, HeaderParseError, ValueError):
        return text


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
        async for chunk in _skip_preamble(boundary, body):
            for event in parser.parse(chunk):
                yield event
    except MultipartError as error:
        raise _parse_error(error) from error
    try:
        parser.close()
    except MultipartError as error:
        raise InputMismatchError(f"Invalid form: {error}.", HINT) from error


async def _skip_preamble(boundary: str, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body starting at its first boundary. A preamble is ignored (RFC 2046, section 5.1.1).

    It is skipped here, because the parser's result would depend on how a preamble is split into chunks. Raises
    :class:`InvalidInputError` if the first MAX_PREAMBLE_BYTES contain no boundary.
    """
    delimiter = f"--{boundary}".encode()
    start = b""
    async for chunk in body:
        start += chunk
        position = _find_line(delimiter, start)
        if position is not None or len(start) > MAX_PREAMBLE_BYTES:
            break
    position = _find_line(delimiter, start)
    if position is None or position > MAX_PREAMBLE_BYTES:
        raise InvalidInputError("Invalid form: its boundary is missing.", HINT)
    yield start[position:]
    async for chunk in body:
        if chunk:
            yield chunk


def _find_line(line_start: bytes, content: bytes) -> int | None:
    """Return the position of the first line that starts with ``line_start``, or None if there is none."""
    if content.startswith(line_start):
        return 0
    position = content.find(b"\r\n" + line_start)
    return position + 2 if position >= 0 else None


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
