"""The detail pane of the dashboard."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard.model.subject_names import SubjectNames
from sealyard.model.tasks import RunProgress, Task
from sealyard_tui.action_keys import action_keys
from sealyard_tui.screens.dashboard.task_detail import render_task
from sealyard_tui.widgets.scroll_pane import ScrollPane, scroll_bindings

EMPTY_TEXT = Content.styled("Select a task to see details.", "$text-muted")


class TaskPane(ScrollPane):
    """Pane that shows all details of a task, below the list or in place of it."""

    BINDINGS: ClassVar[list[BindingType]] = scroll_bindings("pane.")

    def __init__(self) -> None:
        super().__init__(id="detail", classes="pane")
        self.border_title = Content("Detail")
        self.current_task: Task | None = None
        self._content = EMPTY_TEXT

    def compose(self) -> ComposeResult:
        yield Static(EMPTY_TEXT, markup=False)

    @property
    def task_id(self) -> str:
        """Id of the current task; empty if there is none."""
        return self.current_task.id if self.current_task is not None else ""

    def show(self, task: Task, now: datetime, names: SubjectNames, *, live: RunProgress | None, file: Content) -> None:
        """Show a task, scrolling to the top if it is not the current one.

        The parameters are those of :func:`render_task`.
        """
        if task.id != self.task_id:
            self.scroll_home(animate=False, immediate=True)
        self.current_task = task
        self._update(render_task(task, now, action_keys(self.app), names, live=live, file=file))

    def clear(self) -> None:
        self.current_task = None
        self._update(EMPTY_TEXT)

    def _update(self, content: Content) -> None:
        """Update the text only if it has changed, to avoid a new layout every second."""
        if not content.is_same(self._content):
            self._content = content
            self.query_one(Static).update(content)
