"""HTTP/1.1 protocol with limits for unauthenticated connections: head size, head timeout, and pipelined requests."""

from __future__ import annotations

import asyncio

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sealyard.server.http.problems import PROBLEM_JSON, HeadTooLargeError, to_problem

MAX_HEAD_BYTES = 64 << 10
"""Maximum size of a request line with its header fields, and of the trailer fields after a body."""

MAX_HEADER_FIELDS = 200
"""Maximum number of header fields of a request. Many small fields take up far more memory than their size."""

HEAD_TIMEOUT = 15.0
"""Seconds within which the head of a request must be complete.

The time starts when the client connects or, for later requests on the connection, with the first byte after the
previous response.
"""

MAX_PIPELINED = 100
"""Maximum number of requests that wait for earlier responses on a connection (RFC 9112, section 9.3.2)."""


class _StopReadingError(Exception):
    """Raised by a callback to stop the parser."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 protocol that limits the size of a request head, the time for receiving it, and pipelining.

    Responds with 431 to a head that is too large (RFC 6585, section 5). Does not limit the time for a body.
    """

    _unparsed_bytes = 0
    """Number of bytes received since the last complete head or body chunk; the parser may be buffering them."""

    _discard_input = False
    """Whether all further input is ignored."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._discard_input:
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._discard_input:
            self._reject_head()
        # The deadline replaces uvicorn's keep-alive timeout, which any byte cancels, even one that starts no request.
        if not self._is_responding():
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
            self._close_after_pipeline()
            raise _StopReadingError
        self._unparsed_bytes = 0
        self._cancel_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid input with 400, unless this class itself stopped the parser."""
        if not self._discard_input:
            super().send_400_response(msg)

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_size(self) -> int:
        """Return the size of the head in bytes, computed from its fields because it may have arrived with its body."""
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    def _reject_head(self) -> None:
        """Respond with 431 and discard further input until the deadline.

        Closing the connection while data arrives could discard the response in transit. If an earlier response is
        incomplete, closes the connection without responding.
        """
        self._discard_input = True
        if self._is_responding():
            # A second response would be written into the middle of the current one.
            self.transport.close()
            return
        self.transport.write(self._build_too_large_response())
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _build_too_large_response(self) -> bytes:
        error = HeadTooLargeError("Request header too large.", "Send fewer and shorter header fields.")
        problem = to_problem(error)
        body = msgspec.json.encode(problem)
        fields = (
            *self.server_state.default_headers,
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        )
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        return b"%s%s\r\n%s" % (STATUS_LINE[problem.status], lines, body)

    def _close_after_pipeline(self) -> None:
        """Close the connection after the response to the last pipelined request; clients must resend any others."""
        self._discard_input = True
        self.cycle.keep_alive = False

    def _start_deadline(self) -> None:
        """Start the head timeout unless it is already running: a client must not extend it by sending single bytes."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
