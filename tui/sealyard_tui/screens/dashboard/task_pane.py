"""The detail pane of the dashboard."""

from __future__ import annotations

from collections.abc import Callable
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
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.scroll_pane import ScrollPane, scroll_bindings

EMPTY_TEXT = Content.styled("Select a task to see details.", "$text-muted")


class TaskPane(ScrollPane):
    """Pane that shows all details of a task, below the list or in place of it."""

    BINDINGS: ClassVar[list[BindingType]] = scroll_bindings("pane.")

    def __init__(self) -> None:
        super().__init__(id="detail", classes="pane")
        set_pane_title(self, "Detail")
        self.current_task: Task | None = None
        self._content = EMPTY_TEXT
        self._render_text: Callable[[int], Content] = lambda _: EMPTY_TEXT

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
        keys = action_keys(self.app)
        self._render_text = lambda width: render_task(task, now, keys, names, live=live, file=file, width=width)
        self._update()

    def clear(self) -> None:
        self.current_task = None
        self._render_text = lambda _: EMPTY_TEXT
        self._update()

    def on_resize(self) -> None:
        self._update()

    def _update(self) -> None:
        """Update the text only if it has changed, to avoid a new layout every second."""
        content = self._render_text(self.scrollable_content_region.width)
        if not content.is_same(self._content):
            self._content = content
            self.query_one(Static).update(content)
