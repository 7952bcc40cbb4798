"""Detail pane of the audit screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard.model.audit import AuditEntry
from sealyard_tui.screens.audit.entry_format import render_entry
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.scroll_pane import ScrollPane, scroll_bindings


class AuditDetailPane(ScrollPane):
    """Pane that shows an audit entry in full, below the list or in place of it."""

    BINDINGS: ClassVar[list[BindingType]] = scroll_bindings("audit.detail_")

    def __init__(self) -> None:
        super().__init__(id="detail", classes="pane")

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def show(self, entry: AuditEntry | None, checkpointed_size: int) -> None:
        """Show an entry, or a note if there is none.

        ``checkpointed_size``: the number of entries covered by a signed checkpoint.
        """
        set_pane_title(self, f"Entry {entry.seq}" if entry is not None else "Entry")
        detail = (
            render_entry(entry, checkpointed_size)
            if entry is not None
            else Content.styled("No entry selected.", "$text-muted")
        )
        self.query_one(Static).update(detail)
        self.scroll_home(animate=False, immediate=True)
