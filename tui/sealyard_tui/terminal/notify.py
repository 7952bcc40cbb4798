"""Desktop notifications, sent as escape sequences to the terminal."""

from __future__ import annotations

from typing import Any

from textual.app import App

from sealyard.model.safe_text import escape_text

MAX_LENGTH = 120


def notify_desktop(app: App[Any], text: str) -> None:
    """Send a desktop notification with the escape sequences OSC 9 and OSC 777.

    Terminals ignore sequences that they do not support.
    """
    if app._driver is None:
        return
    safe = escape_text(text, MAX_LENGTH).replace(";", ",")
    app._driver.write(f"\x1b]9;Sealyard: {safe}\x07\x1b]777;notify;Sealyard;{safe}\x07")
