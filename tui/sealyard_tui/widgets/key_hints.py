"""The key hints in the lowest line, drawn as one line: Textual's footer is rebuilt whenever a key changes."""

from __future__ import annotations

from typing import NamedTuple

from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

PINNED = ("app.help", "app.leave")
"""Ids of the bindings that are shown last, and are kept on narrow terminals."""

GAP = "  "
MORE = "…"


class KeyHint(NamedTuple):
    """A hint. ``key`` is the key to press, ``display`` how it is written."""

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
    """Shows as many hints as fit; the help has all of them."""

    DEFAULT_CSS = """
    KeyHintBar { dock: bottom; height: 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.hints: tuple[KeyHint, ...] = ()
        self._click_ranges: list[tuple[range, KeyHint]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if screen is not self.screen or not self.is_attached:
            return
        hints = self._hints()
        if hints != self.hints:
            self.hints = hints
            self.refresh()

    def _hints(self) -> tuple[KeyHint, ...]:
        """Return one hint for each visible action, starting with the innermost widget."""
        found: dict[str, KeyHint] = {}
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            if binding.show and binding.action not in found:
                shown = self.app.get_key_display(binding)
                found[binding.action] = KeyHint(binding.id or "", binding.key, shown, binding.description, enabled)
        return tuple(sorted(found.values(), key=lambda each: each.id in PINNED))

    @property
    def visible_hints(self) -> tuple[KeyHint, ...]:
        """The hints that fit."""
        hints = list(self.hints)
        while len(hints) > 1 and self._width(hints) > self.size.width:
            droppable = [each for each in hints if each.id not in PINNED]
            hints.remove(droppable[-1] if droppable else hints[0])
        return tuple(hints)

    def _width(self, hints: list[KeyHint]) -> int:
        more = len(GAP) + len(MORE) if len(hints) < len(self.hints) else 0
        return 1 + sum(each.content.cell_length for each in hints) + len(GAP) * (len(hints) - 1) + more

    def render(self) -> Content:
        shown = self.visible_hints
        self._click_ranges = []
        parts = [Content(" ")]
        at = 1
        for hint in shown:
            if at > 1:
                parts.append(Content(GAP))
                at += len(GAP)
            if len(shown) < len(self.hints) and hint.id == next((each.id for each in shown if each.id in PINNED), None):
                parts.append(Content.styled(f"{MORE}{GAP}", "$text-muted"))
                at += len(GAP) + len(MORE)
            width = hint.content.cell_length
            self._click_ranges.append((range(at, at + width), hint))
            parts.append(hint.content)
            at += width
        return Content.assemble(*parts)

    async def on_click(self, event: events.Click) -> None:
        """Simulate the key."""
        event.stop()
        for columns, hint in self._click_ranges:
            if event.x in columns and hint.enabled:
                self.app.simulate_key(hint.key)
