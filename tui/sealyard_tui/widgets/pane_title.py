"""The title in the top border of a pane."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget


def set_pane_title(pane: Widget, title: str, *notes: str) -> None:
    """Show ``title`` and, less prominently, the notes that are not empty. All texts must be safe.

    Repaints only the border: Textual's setter repaints the whole pane, and titles may change every second.
    """
    note = "".join(f" · {each}" for each in notes if each)
    content = Content.assemble(f" {title}", Content.styled(note, "$text-muted not bold"), " ") if title else Content("")
    current_content = pane._border_title
    if current_content is not None and content.is_same(current_content):
        return
    pane._border_title = content
    pane.refresh(Region(0, 0, pane.outer_size.width, 1).translate(-pane.content_offset))
