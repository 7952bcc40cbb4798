"""One measured figure: a ratio or a number, and the budget of the design it is held against."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    what: str
    value: float
    budget: str
    unit: str = "×"

    def __str__(self) -> str:
        return f"| {self.what} | {self.value:.3g} {self.unit} | {self.budget} |"
