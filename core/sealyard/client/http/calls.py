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

from sealyard.client.connection import Answer, Call, Connection, Stream
from sealyard.client.http.problems import LaterError, not_sealyard, require_success
from sealyard.client.http.tries import Tries
from sealyard.client.link import LinkWatch
from sealyard.model.clock import Clock
from sealyard.model.errors import ConnectionLostError, NotFoundError, Reach, SealyardError
from sealyard.model.safe_text import safe_text

T = TypeVar("T")

Recover = Callable[[], Awaitable[None]]
"""Awaited when nobody listens at a Unix socket any more; sees to it that somebody does, or raises why it cannot."""


class Calls:
    """``patience``: seconds over which one call is tried."""

    def __init__(
        self, connection: Connection, clock: Clock, watch: LinkWatch, *, patience: float, recover: Recover | None
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._watch = watch
        self._patience = patience
        self._recover = recover
        self.server = connection.place.name

    def tries(self) -> Tries:
        return Tries(self._clock, self._patience)

    def endless_tries(self) -> Tries:
        return Tries(self._clock, None)

    # ---- one call, until it is answered

    async def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> T:
        return self.decoded(await self.read(path, query), kind)

    async def read(self, path: str, query: Mapping[str, str] | None = None, *, tries: Tries | None = None) -> Answer:
        return await self.answer(Call(method="GET", path=path, query=query or {}), repeatable=True, tries=tries)

    async def send(self, method: str, path: str, body: object, kind: type[T]) -> T:
        """A change that is not repeated once it may have reached the server."""
        return self.decoded(await self.answer(json_call(method, path, body)), kind)

    async def delete(self, path: str, query: Mapping[str, str] | None = None) -> None:
        await self.answer(Call(method="DELETE", path=path, query=query or {}))

    async def answer(self, call: Call, *, repeatable: bool = False, tries: Tries | None = None) -> Answer:
        """A good answer. Raises what the server says, or :class:`ConnectionLostError` when patience ends."""
        tries = tries or self.tries()
        while True:
            try:
                return await self.once(call)
            except ConnectionLostError as error:
                if maybe_done(error) and not repeatable:
                    raise _unsure(error) from error
                await self.wait(tries, error)
            except LaterError as later:
                await self.wait(tries, later)

    # ---- one try

    async def once(self, call: Call) -> Answer:
        """Raises :class:`LaterError` too."""
        with self._watched():
            answer = await self._connection.exchange(call)
        self._watch.answered()
        require_success(answer, self.server, self._clock.now())
        return answer

    @contextlib.asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Stream]:
        """Raises :class:`LaterError` too."""
        with self._watched():
            async with self._connection.stream(call) as stream:
                self._watch.answered()
                if stream.status >= 300:  # noqa: PLR2004
                    require_success(await stream.whole(), self.server, self._clock.now())
                yield stream

    def heard(self) -> None:
        """A stream brought something."""
        self._watch.answered()

    async def wait(self, tries: Tries, error: ConnectionLostError | LaterError) -> None:
        """Until the next try. Raises the error where another one is of no use, or patience ends."""
        if isinstance(error, LaterError):
            await tries.pause(error.error, error.seconds)
            return
        if error.reach is Reach.UNTRUSTED:
            raise error
        await tries.pause(tries.hindrance or error)
        if error.reach is Reach.NOBODY and self._recover is not None:
            tries.hindrance = await _hindrance(self._recover())

    def decoded(self, answer: Answer, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise not_sealyard(self.server) from error

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except ConnectionLostError:
            self._watch.failed()
            raise


async def _hindrance(recovering: Awaitable[None]) -> SealyardError | None:
    """It may be gone at the next try, or another process may have none: no reason to give up at once."""
    try:
        await recovering
    except SealyardError as error:
        return error
    return None


def maybe_done(error: ConnectionLostError) -> bool:
    return error.reach is Reach.PERHAPS


def _unsure(error: ConnectionLostError) -> ConnectionLostError:
    return ConnectionLostError(error.message, "What was asked for may have been done: look before you ask again.")


def json_call(
    method: str,
    path: str,
    body: object,
    *,
    headers: Mapping[str, str] | None = None,
    answer_within: float | None = None,
) -> Call:
    return Call(
        method=method,
        path=path,
        headers={"Content-Type": "application/json", **(headers or {})},
        content=msgspec.json.encode(body),
        answer_within=answer_within,
    )


def segment(text: str) -> str:
    """``text`` as one segment of a path. Raises :class:`NotFoundError` for what cannot be one."""
    if text in ("", ".", ".."):
        raise NotFoundError(f"There is no {safe_text(text)!r}.", "Check the name.")
    return quote(text, safe="")


def query(**values: str | int | bool | datetime | None) -> dict[str, str]:
    """Without those that are None, empty or False."""
    return {
        name: _written(value) for name, value in values.items() if not (value is None or value is False or value == "")
    }


def _written(value: str | int | bool | datetime | None) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "true" if value is True else str(value)
