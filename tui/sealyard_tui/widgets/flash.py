"""Short messages in the line above the key hints, instead of toasts, which would cover the bottom rows."""

from __future__ import annotations

from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from sealyard.model.safe_text import escape_text

DURATION = 4.0
"""Time for which a message is visible, in seconds."""


class Flash(Static):
    """A one-line message that disappears after :data:`DURATION` seconds."""

    DEFAULT_CSS = """
    Flash {
        dock: bottom; height: 1; padding: 0 1; display: none; background: $panel; color: $text; layer: flash;
        offset-y: -1;
        &.-shown { display: block; }
        &.-warning { color: $warning; text-style: bold; }
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._timer: Timer | None = None

    def show(self, text: str, *, warning: bool = False) -> None:
        """Show ``text``, which may be untrusted, for :data:`DURATION` seconds. ``warning``: whether it is a warning."""
        icon = "!" if warning else "✓"
        self.update(Content(f"{icon} {escape_text(text)}"))
        self.set_class(True, "-shown")
        self.set_class(warning, "-warning")
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DURATION, self._hide)

    def _hide(self) -> None:
        self.set_class(False, "-shown")
