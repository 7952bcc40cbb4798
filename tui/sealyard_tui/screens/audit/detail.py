"""One entry of the audit log in full, beside or over the list."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard.model.audit import AuditEntry
from sealyard_tui.screens.audit.entry import detail_of
from sealyard_tui.widgets.reading_pane import ReadingPane


class AuditDetail(ReadingPane):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="audit.detail_down"),
        Binding("k", "scroll_up", "Up", show=False, id="audit.detail_up"),
        Binding("ctrl+d", "page_down", "Page down", show=False, id="audit.detail_page_down"),
        Binding("ctrl+u", "page_up", "Page up", show=False, id="audit.detail_page_up"),
        Binding("g", "scroll_home", "First", show=False, id="audit.detail_first"),
        Binding("G", "scroll_end", "Last", show=False, id="audit.detail_last"),
    ]

    def __init__(self) -> None:
        super().__init__(id="detail", classes="pane")

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def show(self, entry: AuditEntry | None, sealed: int) -> None:
        """``sealed``: how many entries are."""
        self.border_title = Content(f"Entry {entry.seq}") if entry is not None else Content("Entry")
        shown = detail_of(entry, sealed) if entry is not None else Content.styled("No entry.", "$text-muted")
        self.query_one(Static).update(shown)
        self.scroll_home(animate=False, immediate=True)
