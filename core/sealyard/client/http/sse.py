"""Parser for server-sent events (HTML standard, section 9.2.6, "Interpreting an event stream").

Ignores the ``retry`` field: :class:`~sealyard.concurrency.backoff.Backoff` determines the delay before reconnecting.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator, Iterator

from sealyard.model.base import FrozenStruct

_LINE_END = re.compile(r"\r\n|\n|\r")


class ServerSentEvent(FrozenStruct, frozen=True, kw_only=True):
    """An event. ``id`` is the last id that the stream contained up to and including this event."""

    event: str
    data: str
    id: str


class Comment(FrozenStruct, frozen=True, kw_only=True):
    """A comment line, which starts with a colon. Servers send comments to keep a connection alive."""

    text: str


class EventParser:
    """Incremental parser for a byte stream in arbitrary chunks. An event that is incomplete at the end is dropped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_bom_checked = False
        self._ends_with_cr = False
        self._incomplete_line = ""
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent | Comment]:
        """Yield the events and comments that ``chunk`` completes."""
        *lines, self._incomplete_line = _LINE_END.split(self._incomplete_line + self._decode(chunk))
        for line in lines:
            item = self._parse_line(line)
            if item is not None:
                yield item

    def _decode(self, chunk: bytes) -> str:
        """Decode ``chunk``, without a leading byte order mark and without the LF of a CRLF split between chunks."""
        text = self._decoder.decode(chunk)
        if not text:
            return ""
        if not self._is_bom_checked:
            text = text.removeprefix("\ufeff")
            self._is_bom_checked = True
        text_without_lf = text.removeprefix("\n") if self._ends_with_cr else text
        self._ends_with_cr = text.endswith("\r")
        return text_without_lf

    def _parse_line(self, line: str) -> ServerSentEvent | Comment | None:
        if not line:
            return self._finish_event()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                return Comment(text=value)
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _finish_event(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        if not data:
            return None
        return ServerSentEvent(event=event or "message", data="\n".join(data), id=self._id)


async def parse_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent | Comment]:
    """Yield the events and comments of a byte stream."""
    parser = EventParser()
    async for chunk in chunks:
        for item in parser.feed(chunk):
            yield item
