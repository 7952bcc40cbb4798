"""The summary bar of the dashboard: task counts, throughput, and the title of the list."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Sparkline, Static

from sealyard.model.requests import TaskCounts
from sealyard.model.tasks import ResultState, TaskStatus
from sealyard_tui.formatting import result_icon, status_icon
from sealyard_tui.screens.dashboard.throughput import Throughput

_STATUSES = {
    TaskStatus.WAITING: "waiting",
    TaskStatus.RUNNING: "running",
    TaskStatus.SCHEDULED: "queued",
    TaskStatus.DONE: "done",
    TaskStatus.FAILED: "failed",
}
_RESULTS = {
    ResultState.AVAILABLE: "available",
    ResultState.EXPIRED: "expired",
    ResultState.GONE: "gone",
}


class SummaryBar(Vertical):
    """Bar that shows task counts, the throughput, and the title of the list."""

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("", id="statuses", markup=False)
            yield Sparkline([], id="throughput")
            yield Static("", id="rate", markup=False)
        with Horizontal():
            yield Static("", id="results", markup=False)
            yield Static("", id="title", markup=False)

    def on_mount(self) -> None:
        self.query_one("#throughput").tooltip = Content(
            "Data encrypted and verified by the workers in the last three minutes"
        )

    def show_counts(self, counts: TaskCounts) -> None:
        """Show the number of tasks by status and by result state. Zero counts are hidden on narrow terminals."""
        min_count = 1 if self.screen.has_class("-narrow") else 0
        statuses = [
            _format_counter(*status_icon(status), count, label)
            for status, label in _STATUSES.items()
            if (count := counts.by_status.get(status, 0)) >= min_count
        ]
        results = [
            _format_counter(*result_icon(state), count, label)
            for state, label in _RESULTS.items()
            if (count := counts.results.get(state, 0)) >= min_count
        ]
        self.query_one("#statuses", Static).update(Content("  ").join(statuses))
        self.query_one("#results", Static).update(Content("  ").join(results))

    def show_throughput(self, throughput: Throughput) -> None:
        self.query_one("#throughput", Sparkline).data = throughput.rates
        self.query_one("#rate", Static).update(Content(f"{throughput.rate:.1f} MiB/s"))

    def show_title(self, parts: list[str]) -> None:
        self.query_one("#title", Static).update(Content(" · ".join(part for part in parts if part)))


def _format_counter(sign: str, style: str, count: int, label: str) -> Content:
    if not count:
        return Content.styled(f"{sign} 0 {label}", "$text-muted")
    return Content.assemble(Content.styled(f"{sign} {abbreviate_count(count)}", f"{style} bold"), f" {label}")


def abbreviate_count(count: int) -> str:
    """Format a count in a short form, such as ``9,999``, ``95k`` or ``1.2M``."""
    if count < 10_000:  # noqa: PLR2004
        return f"{count:,}"
    if count < 1_000_000:  # noqa: PLR2004
        return f"{count // 1000}k"
    return f"{count / 1_000_000:.1f}M"
