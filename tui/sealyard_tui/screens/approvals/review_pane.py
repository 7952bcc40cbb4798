"""Pane that shows the review of a task and records which reviews the user has read to the end."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard.model.requests import ApprovalReview
from sealyard.model.subject_names import SubjectNames
from sealyard.model.tasks import Task
from sealyard_tui.action_keys import action_keys
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.review import SECTIONS, render_sections, render_verdict
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.scroll_pane import ScrollPane


class ReviewPane(ScrollPane, can_focus=True):
    """Scrollable pane that shows a review. Its scrolling keys work only while it has focus."""

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
        self._names: SubjectNames = {}
        self._rendered_width = 0
        self._is_laid_out = False
        self._line_count = 0
        """Number of lines of text and headings. Until the content is at least this high, its layout is incomplete."""
        self._read_versions: set[tuple[str, str]] = set()
        """Task ids and approval digests of the reviews that the user has read to the end."""

    def compose(self) -> ComposeResult:
        for name in SECTIONS:
            yield Static("", id=f"review-{name}", classes="section", markup=False)

    def show(self, review: ApprovalReview, now: datetime, names: SubjectNames) -> None:
        """Show a review, scrolling to the top if it is for another task. ``names``: display names of subjects."""
        is_other_task = self.review is None or self.review.task.id != review.task.id
        if is_other_task or review != self.review or names != self._names:
            self.review, self._now, self._names = review, now, names
            self._render_review()
        if is_other_task:
            self.scroll_home(animate=False, immediate=True)

    def clear(self, text: str = "") -> None:
        """Show ``text``, which must be escaped, instead of a review."""
        self.review = None
        set_pane_title(self, "")
        self.border_subtitle = Content("")
        for section in self.query(Static):
            section.display = False
        section = self.query_one("#review-verdict", Static)
        section.update(Content.styled(text, "$text-muted"))
        section.display = True

    def tick(self, now: datetime) -> None:
        """Update the remaining time, rendering only the section that shows it."""
        self._now = now
        if self.review is not None and self._rendered_width:
            self.query_one("#review-verdict", Static).update(render_verdict(self.review, now, self._rendered_width))

    def was_read_to_end(self, task: Task) -> bool:
        """Return whether the user has read the review of this version of the task to the end."""
        return (task.id, task.approval_digest) in self._read_versions

    def action_half_page(self, pages: int) -> None:
        self.scroll_half_page(pages)

    def on_resize(self) -> None:
        if self._text_width != self._rendered_width:
            self._render_review()
        self._update_layout()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._update_read_state()

    def watch_virtual_size(self) -> None:
        """Check again whether the review has been read to the end, because the content height has changed.

        Callbacks passed to ``call_after_refresh()`` are not enough, because they do not run while a dialog is open.
        """
        self._on_laid_out()

    @property
    def _text_width(self) -> int:
        return self.scrollable_content_region.width

    def _render_review(self) -> None:
        if self.review is None or self._now is None:
            return
        if self._text_width <= 0:
            # The pane is hidden and still contains the text of an earlier review: render when it is shown again.
            self._rendered_width = 0
            self._is_laid_out = False
            return
        self._rendered_width = self._text_width
        set_pane_title(self, task_title(self.review.task))
        texts = render_sections(self.review, self._now, self._text_width, action_keys(self.app), self._names)
        self._line_count = (
            len(texts) - 1 + sum(text.plain.count("\n") + 1 + bool(heading) for heading, text in texts.values())
        )
        for name in SECTIONS:
            heading, text = texts.get(name, ("", Content("")))
            section = self.query_one(f"#review-{name}", Static)
            section.display = name in texts
            section.border_title = Content(f" {heading} ")
            section.set_class(bool(heading), "-headed")
            section.update(text)
        self._update_layout()

    def _update_layout(self) -> None:
        self._is_laid_out = False
        self.call_after_refresh(self._on_laid_out)

    def _on_laid_out(self) -> None:
        if self.review is not None and self._text_width != self._rendered_width:
            # A scroll bar has appeared or disappeared, which causes no resize event.
            self._render_review()
            return
        self._is_laid_out = True
        self._update_read_state()

    def _update_read_state(self) -> None:
        is_laid_out = self._is_laid_out and self.size.height and self.virtual_size.height >= self._line_count
        if self.review is None or not is_laid_out:
            return
        hidden_lines = self.max_scroll_y - self.scroll_offset.y
        if hidden_lines <= 0:
            self._read_versions.add((self.review.task.id, self.review.task.approval_digest))
        self.border_subtitle = Content(f"{hidden_lines} more lines ↓" if hidden_lines > 0 else "")
