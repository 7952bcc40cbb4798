"""The downloads of this session: how far each is, where it lies, or what went wrong and what can be done."""

from __future__ import annotations

from textual.app import ComposeResult

from sealyard_tui.screens.dialog import Dialog


class DownloadsDialog(Dialog[None]):
    HEADING = "Downloads"

    def compose_dialog(self) -> ComposeResult:
        yield from ()
