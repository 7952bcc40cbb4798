"""The base class of dialogs that perform an action and stay open until it has succeeded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Generic

from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import Worker

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline
from sealyard_tui.action_keys import action_key, action_keys
from sealyard_tui.dialogs.base import Answer, BaseDialog
from sealyard_tui.session.hints import app_hint
from sealyard_tui.session.pending_changes import ChangeScope, change_scope

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5

Action = Coroutine[Any, Any, bool]
"""The action of a dialog. Returns False if the user cancelled it. Errors are shown in the dialog."""


class ActionDialog(BaseDialog[Answer], Generic[Answer]):
    """Base class of dialogs that perform an action and close when it has succeeded.

    While the action runs, a status line shows what the dialog waits for. Esc then cancels the change that is being
    sent, and keeps the dialog open. The dialog needs a :class:`Static` with the class ``wrong``.
    """

    busy_label = "Sending"
    """What the dialog does while its action runs."""

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._scope = ChangeScope()
        self._worker: Worker[None] | None = None
        self._timer: Timer | None = None
        self._seconds = 0.0
        self._answers: list[Answer] = []
        """The result of the dialog, once the action has succeeded."""

    @property
    def is_busy(self) -> bool:
        return self._timer is not None

    def perform(self, action: Action, answer: Answer) -> None:
        """Run ``action``, unless an action is running, and close the dialog with the result ``answer``."""
        if self.is_busy:
            action.close()
            return
        self._seconds = 0.0
        self._timer = self.set_interval(TICK_SECONDS, self._tick)
        self._worker = self.run_worker(self._run(action, answer), exit_on_error=False)
        self._show_progress()
        self.refresh_bindings()

    async def _run(self, action: Action, answer: Answer) -> None:
        try:
            with change_scope() as self._scope:
                is_done = await action
        except SealyardError as error:
            self._end_action()
            self.show_error(error)
        except asyncio.CancelledError:
            self._end_action()
            raise
        except Exception as error:
            log.exception("unexpected error in a dialog")
            self._end_action()
            self.show_error(SealyardError(f"Internal error: {type(error).__name__}."))
        else:
            self._end_action()
            self.show_status("")
            if is_done:
                self.on_success()
                self._answers = [answer]
                self.on_screen_resume()
            else:
                self.on_declined()

    def _end_action(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self.is_attached:
            self.refresh_bindings()

    def on_success(self) -> None:
        """Called when the action has succeeded, before the dialog closes."""

    def on_declined(self) -> None:
        """Called when the user declined the action in a further question. By default, the dialog stays open."""

    def on_screen_resume(self) -> None:
        """Close the dialog if its action has succeeded and no other dialog is open on top of it."""
        if self._answers and self.is_current:
            self.dismiss(self._answers[0])

    # ---- status line

    def _tick(self) -> None:
        self._seconds += TICK_SECONDS
        self._show_progress()

    def _show_progress(self) -> None:
        pending = self._scope.pending
        elapsed = f" {int(self._seconds)} s" if self._seconds >= 1 else ""
        if pending and not pending[0].is_connected:
            back_key = action_key(self.app, "dialog.back")
            self.show_status(f"▸ Sending… waiting for the server{elapsed}. Press {back_key} to cancel.")
        else:
            self.show_status(f"▸ {self.busy_label}…{elapsed}")

    def show_status(self, text: str, *, is_error: bool = False) -> None:
        """Show ``text``, which must be safe, in the status line."""
        if not self.is_attached:
            return
        status = self.query_one(".wrong", Static)
        status.set_class(not is_error, "-working")
        status.update(Content(text))
        self.fit_later()

    def show_error(self, error: SealyardError) -> None:
        hint = app_hint(error, action_keys(self.app))
        lines = [f"✗ {escape_multiline(error.message)}", *([f"→ {escape_multiline(hint)}"] if hint else [])]
        self.show_status("\n".join(lines), is_error=True)

    # ---- closing

    def cancel_action(self) -> bool:
        """Cancel the running action, and return whether the dialog must stay open to show what became of it."""
        if not self.is_busy:
            return False
        if self._scope.cancel():
            return True
        # Only reads are running, for example because the connection was lost after the change.
        if self._worker is not None:
            self._worker.cancel()
        return False
