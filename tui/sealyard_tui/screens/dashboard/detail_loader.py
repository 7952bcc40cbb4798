"""The loader for the detail pane, which shows the task under the cursor."""

from __future__ import annotations

from textual.content import Content
from textual.timer import Timer

from sealyard.model.errors import NotFoundError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.dashboard.columns import RowRenderer
from sealyard_tui.screens.dashboard.task_pane import TaskPane
from sealyard_tui.screens.dashboard.task_row import TaskRow
from sealyard_tui.widgets.virtual_table import VirtualTable

DETAIL_DELAY = 0.12
"""Delay in seconds between the last cursor movement and loading the task."""


class DetailLoader:
    """Loader that shows the task under the cursor in the detail pane."""

    def __init__(self, screen: BaseScreen, renderer: RowRenderer) -> None:
        self._screen = screen
        self._renderer = renderer
        self._timer: Timer | None = None

    @property
    def _table(self) -> VirtualTable[TaskRow]:
        return self._screen.query_one("#rows", VirtualTable)

    @property
    def _pane(self) -> TaskPane:
        return self._screen.query_one(TaskPane)

    def schedule(self) -> None:
        """Load the task under the cursor after :data:`DETAIL_DELAY`, if the pane is visible and shows a different task.

        Each call restarts the delay, so that nothing is loaded while the cursor is moving.
        """
        if self._timer is not None:
            self._timer.stop()
        if self._pane.display and self._pane.task_id != (self._table.cursor_key or ""):
            self._timer = self._screen.set_timer(DETAIL_DELAY, self.load)

    def load(self) -> None:
        """Start loading the task under the cursor immediately, in the background."""
        if (task_id := self._table.cursor_key) is not None:
            self._screen.run_background(self.read(task_id), group="detail", exclusive=True)

    async def read(self, task_id: str) -> None:
        """Read a task, and show it if the cursor is still on it. Clears the pane if the task does not exist."""
        try:
            task = await (await self._screen.client()).task(task_id)
        except NotFoundError:
            self._pane.clear()
            return
        if task_id == self._table.cursor_key:
            self._show(task)

    async def reload(self) -> None:
        """Reload the task that the pane shows."""
        if self._pane.task_id:
            await self.read(self._pane.task_id)

    def refresh(self) -> None:
        """Update ages, remaining times and progress in the pane, if it is visible, without reloading the task."""
        if (task := self._pane.current_task) is not None and self._pane.display:
            self._show(task)

    def _show(self, task: Task) -> None:
        row = self._table.row(task.id)
        live = row.live if row is not None else None
        names = self._screen.state.subject_names
        self._pane.show(task, self._screen.now(), names, live=live, file=self._format_file_status(task.id))

    def _format_file_status(self, task_id: str) -> Content:
        row = self._table.row(task_id)
        text = self._renderer.render_download(row)[1] if row is not None else Content("")
        path = self._screen.app.download_manager.path(task_id)
        return Content.assemble(text, f"  {escape_text(path)}") if path is not None else text
