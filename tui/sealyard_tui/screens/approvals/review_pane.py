"""The review of one task, and whether it was read to its end."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard.model.requests import ApprovalReview
from sealyard.model.tasks import Task
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.review import SECTIONS, render_sections, render_verdict
from sealyard_tui.widgets.scroll_pane import ScrollPane


class ReviewPane(ScrollPane, can_focus=True):
    """Scrolls by its own keys when focused, and by those of the screen otherwise."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="review.down"),
        Binding("k", "scroll_up", "Up", show=False, id="review.up"),
        Binding("space,ctrl+f", "page_down", "Page down", show=False, id="review.page_down"),
        Binding("ctrl+b", "page_up", "Page up", show=False, id="review.page_up"),
        Binding("ctrl+d", "half_page(1)", "Half a page down", show=False, id="review.half_down"),
        Binding("ctrl+u", "half_page(-1)", "Half a page up", show=False, id="review.half_up"),
        Binding("g", "scroll_home", "First", show=False, id="review.first"),
        Binding("G", "scroll_end", "Last", show=False, id="review.last"),
    ]

    def __init__(self) -> None:
        super().__init__(id="review", classes="pane")
        self.review: ApprovalReview | None = None
        self._now: datetime | None = None
        self._rendered_width = 0
        self._laid_out = False
        self._lines = 0
        """Number of lines with headings: a lower pane was not laid out with the text yet."""
        self._read: set[tuple[str, str]] = set()
        """Task id and approval digest of each review that was read to its end."""

    def compose(self) -> ComposeResult:
        for name in SECTIONS:
            yield Static("", id=f"review-{name}", classes="section", markup=False)

    def show(self, review: ApprovalReview, now: datetime) -> None:
        """Show a review; that of another task from its top."""
        another = self.review is None or self.review.task.id != review.task.id
        if another or review != self.review:
            self.review, self._now = review, now
            self._show_section()
        if another:
            self.scroll_home(animate=False, immediate=True)

    def clear(self, words: str = "") -> None:
        """Show ``words`` instead of a review; they must be safe."""
        self.review = None
        self.border_title = Content("")
        self.border_subtitle = Content("")
        for section in self.query(Static):
            section.display = False
        first = self.query_one("#review-verdict", Static)
        first.update(Content.styled(words, "$text-muted"))
        first.display = True

    def tick(self, now: datetime) -> None:
        """Update the remaining time without rendering everything again."""
        self._now = now
        if self.review is not None and self._rendered_width:
            self.query_one("#review-verdict", Static).update(render_verdict(self.review, now, self._rendered_width))

    def was_read_to_end(self, task: Task) -> bool:
        """Return whether the review of exactly this version was read to its end."""
        return (task.id, task.approval_digest) in self._read

    def action_half_page(self, pages: int) -> None:
        self.scroll_half_page(pages)

    def on_resize(self) -> None:
        if self._room != self._rendered_width:
            self._show_section()
        self._remeasure()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._update_read_state()

    def watch_virtual_size(self) -> None:
        """Remeasure when the text has a new height: under a dialog, call_after_refresh() does not run."""
        self._on_laid_out()

    @property
    def _room(self) -> int:
        return self.scrollable_content_region.width

    def _show_section(self) -> None:
        if self.review is None or self._now is None or self._room <= 0:
            return
        self._rendered_width = self._room
        self.border_title = Content(task_title(self.review.task))
        texts = render_sections(self.review, self._now, self._room)
        self._lines = (
            len(texts) - 1 + sum(text.plain.count("\n") + 1 + bool(heading) for heading, text in texts.values())
        )
        for name, (heading, text) in texts.items():
            section = self.query_one(f"#review-{name}", Static)
            section.display = True
            section.border_title = Content(f" {heading} ")
            section.set_class(bool(heading), "-headed")
            section.update(text)
        self._remeasure()

    def _remeasure(self) -> None:
        self._laid_out = False
        self.call_after_refresh(self._on_laid_out)

    def _on_laid_out(self) -> None:
        self._laid_out = True
        self._update_read_state()

    def _update_read_state(self) -> None:
        if self.review is None or not self._laid_out or not self.size.height or self.virtual_size.height < self._lines:
            return
        below = self.max_scroll_y - self.scroll_offset.y
        if below <= 0:
            self._read.add((self.review.task.id, self.review.task.approval_digest))
        self.border_subtitle = Content(f"{below} more lines ↓" if below > 0 else "")
