"""One measured value, and the budget it is compared with."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    label: str
    value: float
    budget: str
    unit: str = "×"

    def __str__(self) -> str:
        return f"| {self.label} | {self.value:.3g} {self.unit} | {self.budget} |"
