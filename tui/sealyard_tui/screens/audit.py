"""The audit place."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from sealyard_tui.screens.place import Place
from sealyard_tui.widgets.big_table import BigTable, Column


class Audit(Place):
    PLACE = "audit"
    CSS_PATH = "audit.tcss"
    HELP = ""

    COLUMNS: ClassVar[tuple[Column, ...]] = (Column(title="NAME", width=10, grow=1),)

    def compose_place(self) -> ComposeResult:
        yield BigTable[str](self.COLUMNS, lambda row: (row,), key=lambda row: row, id="rows")

    async def load(self) -> None:
        await self.client()
