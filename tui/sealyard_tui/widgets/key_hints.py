"""The key hints in the bottom line of the screen.

A single widget renders all hints. Textual's ``Footer`` recreates its child widgets whenever the bindings change.
"""

from __future__ import annotations

from typing import NamedTuple

from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

PINNED = ("app.help", "app.quit")
"""Ids of the bindings that are shown last, and kept even on narrow terminals."""

GAP = "  "
ELLIPSIS = "…"
"""Shown if some hints do not fit."""


class KeyHint(NamedTuple):
    """A hint for one binding. ``key``: Textual's name for the key. ``display``: the key as shown to the user."""

    id: str
    key: str
    display: str
    label: str
    enabled: bool

    @property
    def content(self) -> Content:
        if not self.enabled:
            return Content.styled(f"{self.display} {self.label}", "$text-muted")
        return Content.assemble(Content.styled(self.display, "bold $accent"), f" {self.label}")


class KeyHintBar(Widget):
    """A line with as many key hints as fit. The help dialog lists all keys."""

    DEFAULT_CSS = """
    KeyHintBar { dock: bottom; height: 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.hints: tuple[KeyHint, ...] = ()
        self._click_ranges: list[tuple[range, KeyHint]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._on_bindings_updated)

    def _on_bindings_updated(self, screen: Screen[object]) -> None:
        if screen is not self.screen or not self.is_attached:
            return
        hints = self._collect_hints()
        if hints != self.hints:
            self.hints = hints
            self.refresh()

    def _collect_hints(self) -> tuple[KeyHint, ...]:
        """Return a hint for each action with a visible binding: those of the focused widget first, pinned ones last."""
        hints: dict[str, KeyHint] = {}
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            if binding.show and binding.action not in hints:
                display = self.app.get_key_display(binding)
                hints[binding.action] = KeyHint(binding.id or "", binding.key, display, binding.description, enabled)
        return tuple(sorted(hints.values(), key=lambda hint: hint.id in PINNED))

    @property
    def visible_hints(self) -> tuple[KeyHint, ...]:
        """The hints that fit into the line; hints that are not pinned are dropped first."""
        hints = list(self.hints)
        while len(hints) > 1 and self._width(hints) > self.size.width:
            removable = [hint for hint in hints if hint.id not in PINNED]
            hints.remove(removable[-1] if removable else hints[0])
        return tuple(hints)

    def _width(self, hints: list[KeyHint]) -> int:
        ellipsis_width = len(GAP) + len(ELLIPSIS) if len(hints) < len(self.hints) else 0
        return 1 + sum(hint.content.cell_length for hint in hints) + len(GAP) * (len(hints) - 1) + ellipsis_width

    def render(self) -> Content:
        hints = self.visible_hints
        first_pinned = next((hint for hint in hints if hint.id in PINNED), None)
        self._click_ranges = []
        parts = [Content(" ")]
        column = 1
        for hint in hints:
            if column > 1:
                parts.append(Content(GAP))
                column += len(GAP)
            if len(hints) < len(self.hints) and hint is first_pinned:
                parts.append(Content.styled(f"{ELLIPSIS}{GAP}", "$text-muted"))
                column += len(GAP) + len(ELLIPSIS)
            width = hint.content.cell_length
            self._click_ranges.append((range(column, column + width), hint))
            parts.append(hint.content)
            column += width
        return Content.assemble(*parts)

    async def on_click(self, event: events.Click) -> None:
        """Simulate pressing the key of the clicked hint."""
        event.stop()
        for columns, hint in self._click_ranges:
            if event.x in columns and hint.enabled:
                self.app.simulate_key(hint.key)
