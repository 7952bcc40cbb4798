"""Changes that were requested, and to which the engine or the server has not responded yet.

All changes that the user requests run through :class:`PendingChanges`. While a connection is lost, a change waits
visibly, and the user can cancel it for certain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from sealyard.client.delivery import Delivery, track_delivery
from sealyard.client.protocol import Client
from sealyard.model.errors import NotFoundError, SealyardError, ServerUnreachableError
from sealyard.model.formatting import format_count
from sealyard.model.tasks import Task

T = TypeVar("T")


class ChangeCancelledError(SealyardError):
    """The user cancelled a change. ``may_have_arrived``: whether the change may have been made nevertheless."""

    code = "change-cancelled"

    def __init__(self, *, may_have_arrived: bool) -> None:
        if may_have_arrived:
            super().__init__(
                "Cancelled, but the request may already have been processed.", "The data is reloaded; check it."
            )
        else:
            super().__init__("Cancelled. The request was not sent; nothing has changed.")
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, kw_only=True)
class Change:
    """Description of a change.

    ``label``: such as "Approval of gateway 1.5.0"; may be untrusted. ``task_id``: the task that it changes, if any.
    ``is_made``: returns whether the task shows that the change was made. ``hint``: how to repeat the change, a trusted
    text that may contain key placeholders.
    """

    label: str
    task_id: str = ""
    is_made: Callable[[Task], bool] | None = None
    hint: str = ""


class PendingChange:
    """A change without a response."""

    def __init__(
        self, change: Change, delivery: Delivery, call: asyncio.Future[Any], is_connected: Callable[[], bool]
    ) -> None:
        self.change = change
        self.is_cancelled = False
        self._delivery = delivery
        self._call = call
        self._is_connected = is_connected
        self._started_at = time.monotonic()

    @property
    def is_connected(self) -> bool:
        """Whether the engine or the server can be reached; False while the change waits for a lost connection."""
        return self._is_connected()

    @property
    def may_have_arrived(self) -> bool:
        return self._delivery.may_have_arrived

    @property
    def elapsed_seconds(self) -> int:
        return int(time.monotonic() - self._started_at)

    def cancel(self) -> None:
        """Stop waiting, and prevent the change from being sent again."""
        self._delivery.cancel()
        self.is_cancelled = self._call.cancel()


class ChangeScope:
    """The pending changes of one dialog, see :func:`change_scope`."""

    def __init__(self) -> None:
        self.pending: list[PendingChange] = []

    def cancel(self) -> bool:
        """Cancel the pending changes, and return whether there were any."""
        pending = list(self.pending)
        for change in pending:
            change.cancel()
        return bool(pending)


_current_scope: ContextVar[ChangeScope | None] = ContextVar("change_scope", default=None)


@contextmanager
def change_scope() -> Iterator[ChangeScope]:
    """Collect the changes that run within this context."""
    scope = ChangeScope()
    token = _current_scope.set(scope)
    try:
        yield scope
    finally:
        _current_scope.reset(token)


@dataclass(frozen=True)
class _UnknownOutcome:
    change: Change
    client: Client


class PendingChanges:
    """All changes without a response, and the tasks of which it is unknown whether a change was made."""

    def __init__(
        self,
        get_client: Callable[[], Awaitable[Client]],
        *,
        is_connected: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        """``get_client`` waits for the session. ``on_change`` is called after the state of a change has changed."""
        self.pending: list[PendingChange] = []
        self._get_client = get_client
        self._is_connected = is_connected
        self._on_change = on_change
        self._scopes: dict[PendingChange, ChangeScope] = {}
        self._unknown_outcomes: dict[str, _UnknownOutcome] = {}

    async def run(self, change: Change, call: Callable[[Client], Awaitable[T]]) -> T:
        """Make a change with ``call``, and return its result.

        Raises :class:`ChangeCancelledError` if the user cancels it, and the errors of ``call``.
        """
        client: Client | None = None

        async def run_call() -> T:
            nonlocal client
            client = await self._get_client()
            return await call(client)

        with track_delivery() as delivery:
            future = asyncio.ensure_future(run_call())
            pending = PendingChange(change, delivery, future, self._is_connected)
            self._add(pending)
            try:
                return await future
            except asyncio.CancelledError:
                if not pending.is_cancelled:
                    pending.cancel()
                    raise
                raise ChangeCancelledError(may_have_arrived=self._record_outcome(pending, client)) from None
            except ServerUnreachableError:
                self._record_outcome(pending, client)
                raise
            finally:
                self._remove(pending)

    def _record_outcome(self, pending: PendingChange, client: Client | None) -> bool:
        """Return whether the change may have been made. If so, remember to check its task."""
        change, may_have_arrived = pending.change, pending.may_have_arrived
        if may_have_arrived and change.is_made is not None and client is not None:
            self._unknown_outcomes[change.task_id] = _UnknownOutcome(change, client)
        return may_have_arrived

    def _add(self, pending: PendingChange) -> None:
        self.pending.append(pending)
        if (scope := _current_scope.get()) is not None:
            scope.pending.append(pending)
            self._scopes[pending] = scope
        self._on_change()

    def _remove(self, pending: PendingChange) -> None:
        self.pending.remove(pending)
        if (scope := self._scopes.pop(pending, None)) is not None:
            scope.pending.remove(pending)
        self._on_change()

    def mark_of(self, task_id: str) -> str:
        """Return the mark of a task: ``sending 12s``, ``? unknown``, or an empty text."""
        for pending in self.pending:
            if pending.change.task_id == task_id:
                return f"sending {pending.elapsed_seconds}s"
        return "? unknown" if task_id in self._unknown_outcomes else ""

    def is_pending(self, task_id: str) -> bool:
        return any(each.change.task_id == task_id for each in self.pending)

    def cancel_background(self) -> bool:
        """Cancel the pending changes that do not belong to a dialog, and return whether there were any."""
        pending = [each for each in self.pending if each not in self._scopes]
        for each in pending:
            each.cancel()
        return bool(pending)

    def cancel_all(self) -> None:
        for each in list(self.pending):
            each.cancel()

    @property
    def has_unknown_outcomes(self) -> bool:
        return bool(self._unknown_outcomes)

    async def check_unknown_outcomes(self) -> list[tuple[Change, bool]]:
        """Read the tasks of which it is unknown whether a change was made, and return each change with the answer.

        Raises :class:`ServerUnreachableError`; the remaining changes are then kept for the next check.
        """
        answers = []
        for task_id, outcome in list(self._unknown_outcomes.items()):
            assert outcome.change.is_made is not None
            try:
                task = await outcome.client.task(task_id)
            except NotFoundError:
                self._unknown_outcomes.pop(task_id, None)
                continue
            if self._unknown_outcomes.pop(task_id, None) is not None:
                answers.append((outcome.change, outcome.change.is_made(task)))
        self._on_change()
        return answers


def describe_pending(pending: Sequence[PendingChange]) -> str:
    """Return what happens to the pending changes when the application quits; empty if there are none.

    The text may be untrusted.
    """
    sent = [each.change.label for each in pending if each.may_have_arrived]
    unsent = [each.change.label for each in pending if not each.may_have_arrived]
    lines = []
    if unsent:
        lines.append(f"{format_count(len(unsent), 'change')} not sent yet, will be discarded: {', '.join(unsent)}")
    if sent:
        lines.append(f"{format_count(len(sent), 'change')} sent, but not confirmed by the server: {', '.join(sent)}")
    return "\n".join(lines)
