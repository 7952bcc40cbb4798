"""The dialog that asks before the application quits."""

from __future__ import annotations

from typing import ClassVar

from sealyard_tui.dialogs.confirm import ConfirmDialog


class QuitDialog(ConfirmDialog):
    """A dialog that lists what would be interrupted or discarded. It is shown in a terminal of any size."""

    min_size: ClassVar[tuple[int, int]] = (0, 0)

    def __init__(self, question: str) -> None:
        super().__init__("Quit?", question, yes="Quit", no="Stay")
