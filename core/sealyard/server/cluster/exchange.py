"""A request and its response, which several servers may try to handle one after the other."""

from __future__ import annotations

import asyncio
from enum import Enum

from litestar.types import HTTPScope, Message, Receive, ReceiveMessage, Send

from sealyard.model.errors import SealyardError
from sealyard.server.http.problems import send_problem

REPEATABLE_METHODS = frozenset({"GET", "HEAD"})


class Outcome(Enum):
    """How an attempt to handle a request ended."""

    FINISHED = "finished"  # the response was sent
    NOT_STARTED = "not started"  # the request was not processed
    LOST = "lost"  # the request may have been processed; the response is missing or incomplete


class Exchange:
    """Wraps ``receive`` and ``send`` of a request to track how much of it was received and answered."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self.scope = scope
        self.body_length = None if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))
        """The length of the body in bytes; None if it is sent in chunks."""
        self.is_body_consumed = False
        """Whether a part of the body was received, so that no other attempt can send the whole body."""
        self.has_response_started = False
        self.event_stream_started = asyncio.Event()
        """Set if the response is a stream of events, which a client continues on a new connection."""
        self._receive = receive
        self._send = send
        self._is_request_complete = asyncio.Event()
        self._repeats_end = False

    @property
    def has_body(self) -> bool:
        return self.body_length != 0

    @property
    def is_repeatable(self) -> bool:
        """Whether the request can be handled again although it may have been processed."""
        is_safe = self.scope["method"] in REPEATABLE_METHODS
        return is_safe and not self.is_body_consumed and not self.has_response_started

    def begin_attempt(self) -> None:
        """Prepare for another attempt to handle the request."""
        self._repeats_end = self._is_request_complete.is_set()

    async def receive(self) -> ReceiveMessage:
        if self._repeats_end:
            self._repeats_end = False
            return {"type": "http.request", "body": b"", "more_body": False}
        message = await self._receive()
        if message["type"] == "http.request":
            self.is_body_consumed = self.is_body_consumed or bool(message["body"])
            if not message["more_body"]:
                self._is_request_complete.set()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_response_started = True
            content_type = dict(message["headers"]).get(b"content-type", b"")
            if content_type.startswith(b"text/event-stream"):
                self.event_stream_started.set()
        await self._send(message)

    async def wait_disconnected(self) -> None:
        """Wait until the client disconnects. Does not receive the body, which another coroutine may be reading."""
        if self.has_body:
            await self._is_request_complete.wait()
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def fail(self, error: SealyardError) -> None:
        """Send an error response. A response that has started stays incomplete, except for a stream of events."""
        if not self.has_response_started:
            await send_problem(self.send, error)
        elif self.event_stream_started.is_set():
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})
