"""Retry of an action after a lost connection, in a dialog that contains the user's previous input."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, NamedTuple

from textual.app import App

from sealyard_tui.dialogs.base import Answer, BaseDialog


class Attempt(NamedTuple, Generic[Answer]):
    """A dialog, and the action to run with its answer.

    ``run`` performs the action. It returns the next attempt if the connection was lost, otherwise None.
    """

    dialog: BaseDialog[Answer]
    run: Callable[[Answer], Awaitable[Attempt[Answer] | None]]


def ask_and_retry(
    app: App[Any], attempt: Attempt[Answer], start: Callable[[Coroutine[Any, Any, None]], object]
) -> None:
    """Show the dialog, run the action with its answer, and continue with the next attempt if the action returns one.

    ``start``: runs a coroutine in the background. If the answer is falsy, the action is not run.
    """

    async def run_action(answer: Answer) -> None:
        if (next_attempt := await attempt.run(answer)) is not None:
            ask_and_retry(app, next_attempt, start)

    def on_answer(answer: Answer | None) -> None:
        if answer:
            start(run_action(answer))

    app.push_screen(attempt.dialog, on_answer)
