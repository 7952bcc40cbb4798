"""The progress bar for running downloads, shown on every screen."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from sealyard.client.downloads.events import DownloadProgress
from sealyard.model.formatting import format_size
from sealyard.model.safe_text import escape_text
from sealyard_tui.formatting import progress_bar

BAR_WIDTH = 24


class DownloadBar(Static):
    """A one-line progress bar for running downloads; hidden if there are none."""

    DEFAULT_CSS = """
    DownloadBar { height: 1; padding: 0 1; display: none; background: $panel; &.-shown { display: block; } }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)

    def show(self, downloads: list[DownloadProgress]) -> None:
        """Show the progress of the first download and the number of others; hide the bar if there are no downloads."""
        self.set_class(bool(downloads), "-shown")
        if not downloads:
            return
        first = downloads[0]
        others = f"  and {len(downloads) - 1} more" if len(downloads) > 1 else ""
        self.update(
            Content.assemble(
                Content.styled("↓ ", "$accent"),
                f"{escape_text(first.name, 40)} ",
                progress_bar(first.bytes_done, first.bytes_total, BAR_WIDTH),
                f"  {format_size(first.bytes_done)} of {format_size(first.bytes_total)}{others}",
            )
        )
