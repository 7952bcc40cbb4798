"""Calls to a server: what is answered, decoded; what was not, asked again where that is safe.

Safe are reads, changes that certainly did not reach the server, and changes that the server recognizes when they come
again. For all others it is said that they may have been done.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

import msgspec

from sealyard.client.http.backoff import Backoff
from sealyard.client.http.errors import RetryLaterError, raise_for_status, unexpected_server
from sealyard.client.http.status import ConnectionMonitor
from sealyard.client.http.transport import Connection, Request, Response, ResponseStream
from sealyard.model.clock import Clock
from sealyard.model.errors import DeliveryCertainty, NotFoundError, SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text

T = TypeVar("T")

RecoverCallback = Callable[[], Awaitable[None]]
"""Awaited when nobody listens at a Unix socket any more; sees to it that somebody does, or raises why it cannot."""


class RequestSender:
    """``patience``: seconds over which one call is tried."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        watch: ConnectionMonitor,
        *,
        patience: float,
        recover: RecoverCallback | None,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._watch = watch
        self._patience = patience
        self._recover = recover
        self.server = connection.place.name

    def new_backoff(self) -> Backoff:
        return Backoff(self._clock, self._patience)

    def new_endless_backoff(self) -> Backoff:
        return Backoff(self._clock, None)

    # ---- one call, until it is answered

    async def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        return self.decoded(await self.read(path, query), kind)

    async def read(
        self, path: str, query: Mapping[str, str] | None = None, *, tries: Backoff | None = None
    ) -> Response:
        return await self.send_retrying(
            Request(method="GET", path=path, query=query or {}), repeatable=True, tries=tries
        )

    async def send(self, method: str, path: str, body: object, kind: type[T]) -> T:
        """A change that is not repeated once it may have reached the server."""
        return self.decoded(await self.send_retrying(json_call(method, path, body)), kind)

    async def delete(self, path: str, query: Mapping[str, str] | None = None) -> None:
        await self.send_retrying(Request(method="DELETE", path=path, query=query or {}))

    async def send_retrying(self, call: Request, *, repeatable: bool = False, tries: Backoff | None = None) -> Response:
        """A good answer. Raises what the server says, or :class:`ServerUnreachableError` when patience ends."""
        tries = tries or self.new_backoff()
        while True:
            try:
                return await self.send_once(call)
            except ServerUnreachableError as error:
                if outcome_unknown(error) and not repeatable:
                    raise _outcome_unknown(error) from error
                await self.wait(tries, error)
            except RetryLaterError as later:
                await self.wait(tries, later)

    # ---- one try

    async def send_once(self, call: Request) -> Response:
        """Raises :class:`RetryLaterError` too."""
        with self._watched():
            answer = await self._connection.send(call)
        self._watch.mark_alive()
        raise_for_status(answer, self.server, self._clock.now())
        return answer

    @contextlib.asynccontextmanager
    async def stream(self, call: Request) -> AsyncIterator[ResponseStream]:
        """Raises :class:`RetryLaterError` too."""
        with self._watched():
            async with self._connection.stream(call) as stream:
                self._watch.mark_alive()
                if stream.status >= 300:  # noqa: PLR2004
                    raise_for_status(await stream.whole(), self.server, self._clock.now())
                yield stream

    def mark_alive(self) -> None:
        """A stream brought something."""
        self._watch.mark_alive()

    async def wait(self, tries: Backoff, error: ServerUnreachableError | RetryLaterError) -> None:
        """Until the next try. Raises the error where another one is of no use, or patience ends."""
        if isinstance(error, RetryLaterError):
            await tries.wait(error.error, error.seconds)
            return
        if error.reach is DeliveryCertainty.UNTRUSTED:
            raise error
        await tries.wait(tries.blocking_error or error)
        if error.reach is DeliveryCertainty.NOT_SENT and self._recover is not None:
            tries.blocking_error = await _recovery_error(self._recover())

    def decoded(self, answer: Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise unexpected_server(self.server) from error

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except ServerUnreachableError:
            self._watch.mark_failed()
            raise


async def _recovery_error(recovering: Awaitable[None]) -> SealyardError | None:
    """It may be gone at the next try, or another process may have none: no reason to give up at once."""
    try:
        await recovering
    except SealyardError as error:
        return error
    return None


def outcome_unknown(error: ServerUnreachableError) -> bool:
    return error.reach is DeliveryCertainty.UNKNOWN


def _outcome_unknown(error: ServerUnreachableError) -> ServerUnreachableError:
    return ServerUnreachableError(error.message, "What was asked for may have been done: look before you ask again.")


def json_call(
    method: str,
    path: str,
    body: object,
    *,
    headers: Mapping[str, str] | None = None,
    answer_within: float | None = None,
) -> Request:
    return Request(
        method=method,
        path=path,
        headers={"Content-Type": "application/json", **(headers or {})},
        content=msgspec.json.encode(body),
        answer_within=answer_within,
    )


def path_segment(text: str) -> str:
    """``text`` as one segment of a path. Raises :class:`NotFoundError` for what cannot be one."""
    if text in ("", ".", ".."):
        raise NotFoundError(f"There is no {escape_text(text)!r}.", "Check the name.")
    return quote(text, safe="")


def query_params(**values: str | int | bool | datetime | None) -> dict[str, str]:
    """Without those that are None, empty or False."""
    return {
        name: _written(value) for name, value in values.items() if not (value is None or value is False or value == "")
    }


def _written(value: str | int | bool | datetime | None) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "true" if value is True else str(value)


class ApiCalls:
    def __init__(self, calls: RequestSender) -> None:
        self._calls = calls
