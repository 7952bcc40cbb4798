"""The confirmation of the engine's system clock by an administrator."""

from __future__ import annotations

from typing import Any

from textual.app import App

from sealyard.model.clock import ClockConfirmation
from sealyard.model.errors import ConfirmationRequiredError
from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.session.pending_changes import Change, PendingChanges

CONFIRM_CLOCK = "clock is right"
"""Text that must be typed to confirm the clock."""


CLOCK_CHANGE = Change(label="Confirmation of the system clock")


async def confirm_clock(app: App[Any], changes: PendingChanges) -> None:
    """Show the system time of the engine, let the user confirm it, and report the result."""

    async def submit() -> bool:
        _report(app, await changes.run(CLOCK_CHANGE, lambda client: client.confirm_clock(confirmed=True)))
        return True

    try:
        confirmation = await changes.run(CLOCK_CHANGE, lambda client: client.confirm_clock())
    except ConfirmationRequiredError as error:
        app.clear_notifications()  # the warning would cover a part of the dialog
        about = escape_text(error.message)
        app.push_screen(TypedConfirmDialog("Confirm the system clock", about, CONFIRM_CLOCK, action=submit))
    else:
        _report(app, confirmation)


def _report(app: App[Any], confirmation: ClockConfirmation) -> None:
    time = format_time(confirmation.time)
    text = (
        f"The system clock ({time}) is trusted already. Nothing was changed."
        if confirmation.already_trusted
        else f"Confirmed the system clock ({time})."
    )
    app.notify(text, markup=False)
