"""The order of key presses and pastes, which Textual does not keep if they arrive faster than they are handled.

Textual passes each key on to the widget that has the focus when the key arrives. Keys that follow each other in one
burst, as over a slow connection, would all reach the widget that had the focus before the first of them took effect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from textual import events
from textual.app import App, ScreenStackError
from textual.message_pump import MessagePump
from textual.widget import Widget

MIN_SWEEPS = 3
"""Sweeps after which a key has taken effect: the key itself, a message that it causes, and a new screen."""

MAX_SWEEPS = 12
PUMP_TIMEOUT = 1.0
"""Maximum time in seconds to wait for a busy widget."""

OPENING_TIMEOUT = 1.0
"""Maximum time in seconds to wait for a dialog that loads data before it opens."""

OPENING_GROUP = "opening"
"""Group of the workers that load data and then open a dialog. The next keys are meant for that dialog."""

POLL_INTERVAL = 0.005
CLOSE_CHECK_INTERVAL = 0.05
"""Interval in seconds at which a busy widget is checked: a widget that is closed discards its messages."""


class InputQueue:
    """Passes on key presses and pastes one after the other, each when the effects of the previous one are complete."""

    def __init__(self, app: App[Any], dispatch: Callable[[events.Event], Awaitable[None]]) -> None:
        """``dispatch`` passes an event on to the widget that has the focus."""
        self._app = app
        self._dispatch = dispatch
        self._waiting: deque[events.Event] = deque()
        self._settling: asyncio.Task[None] | None = None
        self._dispatch_count = 0
        self._text_target: Widget | None = None
        """The widget into which the last key was typed as text."""
        self._screen_before: object = None
        self._workers_before: set[object] = set()

    async def put(self, event: events.Event) -> None:
        """Pass on ``event``, or queue it until the previous event has taken effect."""
        is_settled = self._settling is None or self._settling.done()
        if not self._waiting and (is_settled or self._continues_text(event)):
            await self._pass_on(event)
        else:
            self._waiting.append(event)

    def close(self) -> None:
        """Discard all queued events."""
        self._waiting.clear()
        if self._settling is not None:
            self._settling.cancel()

    def _continues_text(self, event: events.Event) -> bool:
        """Return whether ``event`` adds text to the same input as the key before it, which needs no waiting."""
        target = self._find_text_target(event)
        return target is not None and target is self._text_target

    def _find_text_target(self, event: events.Event) -> Widget | None:
        focused = self._app.focused
        if not isinstance(event, events.Key) or focused is None or not event.is_printable:
            return None
        return focused if focused.check_consume_key(event.key, event.character) else None

    async def _pass_on(self, event: events.Event) -> None:
        self._dispatch_count += 1
        self._text_target = self._find_text_target(event)
        self._screen_before = self._app.screen_stack[-1] if self._app.screen_stack else None
        self._workers_before = set(self._app.workers)
        await self._dispatch(event)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle_and_continue())

    async def _settle_and_continue(self) -> None:
        """Wait until all events that were passed on have taken effect, and pass on those that are waiting."""
        while True:
            count = self._dispatch_count
            await self._settle()
            if count != self._dispatch_count:
                continue
            if not self._waiting:
                return
            await self._pass_on_waiting()

    async def _pass_on_waiting(self) -> None:
        try:
            await self._pass_on(self._waiting.popleft())
            while self._waiting and self._continues_text(self._waiting[0]):
                await self._pass_on(self._waiting.popleft())
        except Exception as error:
            self._app._handle_exception(error)

    # ---- effects

    async def _settle(self) -> None:
        """Wait until the widgets have handled all messages that the last event has caused."""
        for number in range(MAX_SWEEPS):
            before = self._focus_path()
            for pump in before:
                await _wait_for_pump(pump)
            if number + 1 >= MIN_SWEEPS and self._focus_path() == before:
                break
        await self._wait_for_dialog()

    def _focus_path(self) -> list[MessagePump]:
        """Return the widgets that handle a key, from the focused widget up to the application."""
        try:
            node: MessagePump | None = self._app.focused or self._app.screen
        except ScreenStackError:
            return [self._app]
        path = []
        while node is not None:
            path.append(node)
            node = node._parent
        return path

    async def _wait_for_dialog(self) -> None:
        """Wait until the dialog has opened for which a worker is loading data since the last event."""
        deadline = asyncio.get_running_loop().time() + OPENING_TIMEOUT
        while self._app.screen_stack and self._app.screen_stack[-1] is self._screen_before:
            if not any(self._opening_workers()) or asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(POLL_INTERVAL)
        if any(self._opening_workers()) and self._app.screen_stack:
            await _wait_for_pump(self._app.screen_stack[-1])

    def _opening_workers(self) -> Iterator[object]:
        for worker in self._app.workers:
            if worker not in self._workers_before and worker.group == OPENING_GROUP and not worker.is_finished:
                yield worker


async def _wait_for_pump(pump: MessagePump) -> None:
    """Wait until ``pump`` has handled all messages in its queue, unless it is closing or busy for long."""
    is_handled = asyncio.Event()
    if not pump.call_later(is_handled.set):
        return
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PUMP_TIMEOUT
    while not (is_handled.is_set() or pump._closing or pump._closed or loop.time() > deadline):
        with suppress(TimeoutError):
            await asyncio.wait_for(is_handled.wait(), CLOSE_CHECK_INTERVAL)
