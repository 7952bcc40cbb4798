"""Server-sent events, parsed as the HTML standard says (section 9.2.6, "Interpreting an event stream").

All but ``retry``: how long to wait before the next try is for :mod:`sealyard.client.http.backoff` to say.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator, Iterator

from sealyard.model.base import FrozenStruct

_LINE_END = re.compile(r"\r\n|\n|\r")


class ServerSentEvent(FrozenStruct, frozen=True, kw_only=True):
    """``id``: of this event, or of the last one before it that had one."""

    event: str
    data: str
    id: str


class Comment(FrozenStruct, frozen=True, kw_only=True):
    """A line beginning with a colon: means nothing to the standard, and keeps a connection alive."""

    text: str


class EventParser:
    """Takes a stream in pieces cut anywhere; an event that its stream does not end is left out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._after_cr = False
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent | Comment]:
        *lines, self._rest = _LINE_END.split(self._rest + self._text(piece))
        for line in lines:
            found = self._line(line)
            if found is not None:
                yield found

    def _text(self, piece: bytes) -> str:
        """Without the byte order mark that may stand first, and without the LF of a CR that ended a line already."""
        text = self._decoder.decode(piece)
        if not text:
            return ""
        if not self._begun:
            text = text.removeprefix("\ufeff")
            self._begun = True
        rest = text.removeprefix("\n") if self._after_cr else text
        self._after_cr = text.endswith("\r")
        return rest

    def _line(self, line: str) -> ServerSentEvent | Comment | None:
        if not line:
            return self._dispatched()
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

    def _dispatched(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        if not data:
            return None
        return ServerSentEvent(event=event or "message", data="\n".join(data), id=self._id)


async def parse_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[ServerSentEvent | Comment]:
    parser = EventParser()
    async for piece in pieces:
        for each in parser.feed(piece):
            yield each
