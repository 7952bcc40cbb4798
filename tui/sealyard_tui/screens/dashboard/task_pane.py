"""The detail pane of the dashboard."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard.model.tasks import RunProgress, Task
from sealyard_tui.screens.dashboard.task_detail import render_task
from sealyard_tui.widgets.scroll_pane import ScrollPane, scroll_bindings

EMPTY_TEXT = Content.styled("Select a task to see details.", "$text-muted")


class TaskPane(ScrollPane):
    """One task in full, beside the list or over it."""

    BINDINGS: ClassVar[list[BindingType]] = scroll_bindings("pane.")

    def __init__(self) -> None:
        super().__init__(id="detail", classes="pane")
        self.border_title = Content("Detail")
        self.task_shown: Task | None = None
        self._content = EMPTY_TEXT

    def compose(self) -> ComposeResult:
        yield Static(EMPTY_TEXT, markup=False)

    @property
    def task_id(self) -> str:
        """Id of the shown task; empty without one."""
        return self.task_shown.id if self.task_shown is not None else ""

    def show(self, task: Task, now: datetime, *, live: RunProgress | None, file: Content) -> None:
        """Show a task, from its top; the scroll position stays if it is the same task."""
        if task.id != self.task_id:
            self.scroll_home(animate=False, immediate=True)
        self.task_shown = task
        self._update(render_task(task, now, live=live, file=file))

    def clear(self) -> None:
        self.task_shown = None
        self._update(EMPTY_TEXT)

    def _update(self, content: Content) -> None:
        """Update the text; unchanged text is not laid out again every second."""
        if not content.is_same(self._content):
            self._content = content
            self.query_one(Static).update(content)
