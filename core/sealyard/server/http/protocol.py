"""What a connection may cost before anybody is known on it: bytes, time, and requests that wait."""

from __future__ import annotations

import asyncio

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sealyard.server.http.problems import PROBLEM_JSON, HeadTooLargeError, to_problem

MAX_HEAD_BYTES = 64 << 10
"""Bytes of a request line and its header fields, and of the trailer fields behind a body."""

MAX_HEADER_FIELDS = 200
"""In a head. Many tiny ones take far more memory than their bytes."""

HEAD_TIMEOUT = 15.0
"""Until a request's head is whole: from the connection on, later from the first byte behind the last answer."""

MAX_PIPELINED = 100
"""Requests that are sent ahead and wait for the answers before theirs (RFC 9112, section 9.3.2)."""


class _StopReadingError(Exception):
    """Makes the parser take nothing more."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1, where a body may take all the time there is, and what leads to one may not.

    A head that is too large is answered with 431 (RFC 6585, section 5).
    """

    _unparsed = 0
    """Bytes since the last whole head or piece of a body: what the parser may be collecting."""

    _discard_input = False
    """Whatever still comes is passed over."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._discard_input:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MAX_HEAD_BYTES and not self._discard_input:
            self._reject_head()
        # Any byte ends uvicorn's keep-alive time, even one that begins no request.
        if not self._answering():
            self._start_deadline()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADER_FIELDS:
            self._reject_head()
            raise _StopReadingError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._head_size() > MAX_HEAD_BYTES:
            self._reject_head()
            raise _StopReadingError
        if len(self.pipeline) >= MAX_PIPELINED:
            self._answer_no_more()
            raise _StopReadingError
        self._unparsed = 0
        self._end_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Where the parser was not stopped from here."""
        if not self._discard_input:
            super().send_400_response(msg)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_size(self) -> int:
        """Bytes; a head that came in one piece with its body can be measured in no other way."""
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    def _reject_head(self) -> None:
        """Reads on for nobody until the deadline: a line that is cut while bytes come in takes the answer with it."""
        self._discard_input = True
        if self._answering():
            # A second answer would end up in the middle of the first.
            self.transport.close()
            return
        self.transport.write(self._too_large())
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _too_large(self) -> bytes:
        error = HeadTooLargeError("The head of the request is too large.", "Send fewer and shorter header fields.")
        body = msgspec.json.encode(to_problem(error))
        fields = (
            *self.server_state.default_headers,
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        )
        lines = b"".join(b"%s: %s\r\n" % each for each in fields)
        return b"%s%s\r\n%s" % (STATUS_LINE[to_problem(error).status], lines, body)

    def _answer_no_more(self) -> None:
        """The last answer to what waits says that the connection ends with it; the rest can be asked on another."""
        self._discard_input = True
        self.cycle.keep_alive = False

    def _start_deadline(self) -> None:
        """Unless one runs: bytes that come in one by one do not put it off."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT, self.transport.abort)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
