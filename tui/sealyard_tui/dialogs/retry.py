"""Asking again after the connection was lost, with what the user had typed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, NamedTuple

from textual.app import App

from sealyard_tui.dialogs.base import Answer, BaseDialog


class Attempt(NamedTuple, Generic[Answer]):
    """A dialog and what to do with its answer.

    ``run`` returns the next attempt if the connection was lost, else None.
    """

    dialog: BaseDialog[Answer]
    run: Callable[[Answer], Awaitable[Attempt[Answer] | None]]


def ask_and_retry(
    app: App[Any], attempt: Attempt[Answer], start: Callable[[Coroutine[Any, Any, None]], object]
) -> None:
    """Show the dialog and act on its answer; repeat with the next attempt until one succeeds.

    ``start`` runs a coroutine in the background. A false answer ends the loop without an action.
    """

    async def act(answer: Answer) -> None:
        if (following := await attempt.run(answer)) is not None:
            ask_and_retry(app, following, start)

    def answered(answer: Answer | None) -> None:
        if answer:
            start(act(answer))

    app.push_screen(attempt.dialog, answered)
