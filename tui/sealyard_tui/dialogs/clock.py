"""The confirmation of the engine's system clock by an administrator."""

from __future__ import annotations

from typing import Any

from textual.app import App

from sealyard.client.protocol import Client
from sealyard.model.errors import ConfirmationRequiredError
from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.confirm import TypedConfirmDialog

CONFIRM_CLOCK = "clock is right"
"""Text that must be typed to confirm the clock."""


async def confirm_clock(app: App[Any], client: Client) -> None:
    """Show the system time of the engine, let the user confirm it, and report the result."""
    try:
        confirmation = await client.confirm_clock()
    except ConfirmationRequiredError as error:
        app.clear_notifications()  # the warning would cover a part of the dialog
        dialog = TypedConfirmDialog("Confirm the system clock", escape_text(error.message), CONFIRM_CLOCK)
        if not await app.push_screen_wait(dialog):
            return
        confirmation = await client.confirm_clock(confirmed=True)
    time = format_time(confirmation.time)
    text = (
        f"The system clock ({time}) is trusted already. Nothing was changed."
        if confirmation.already_trusted
        else f"Confirmed the system clock ({time})."
    )
    app.notify(text, markup=False)
