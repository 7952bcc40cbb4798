"""The dashboard place."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from sealyard_tui.screens.place import Place
from sealyard_tui.widgets.big_table import BigTable, Column


class Dashboard(Place):
    PLACE = "dashboard"
    CSS_PATH = "dashboard.tcss"
    HELP = ""

    COLUMNS: ClassVar[tuple[Column, ...]] = (Column(title="NAME", width=10, grow=1),)

    def compose_place(self) -> ComposeResult:
        yield BigTable[str](self.COLUMNS, lambda row: (row,), key=lambda row: row, id="rows")

    async def load(self) -> None:
        await self.client()

    def show_task(self, task_id: str) -> None:
        """Puts the cursor on a task and opens its detail."""
        self.query_one(BigTable).go_to(task_id)
