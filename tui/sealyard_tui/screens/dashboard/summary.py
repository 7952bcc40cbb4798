"""The summary bar of the dashboard: task counts and throughput."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
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


class CountsLine(Widget):
    """The number of tasks by status and by result state, as detailed as the width allows."""

    def __init__(self) -> None:
        super().__init__(id="counts")
        self._counts: TaskCounts | None = None

    def show(self, counts: TaskCounts) -> None:
        self._counts = counts
        self.refresh()

    def render(self) -> Content:
        return format_counts(self._counts, self.size.width) if self._counts is not None else Content("")


class SummaryBar(Horizontal):
    """Bar that shows task counts and, while data is processed, the throughput."""

    def compose(self) -> ComposeResult:
        yield CountsLine()
        yield Static("throughput", classes="throughput", markup=False)
        yield Sparkline([], id="throughput", classes="throughput")
        yield Static("", id="rate", classes="throughput", markup=False)

    def on_mount(self) -> None:
        tooltip = Content("Data encrypted and verified by the workers in the last three minutes")
        for widget in self.query(".throughput"):
            widget.tooltip = tooltip

    def show_counts(self, counts: TaskCounts) -> None:
        self.query_one(CountsLine).show(counts)

    def show_throughput(self, throughput: Throughput) -> None:
        """Show the throughput, unless it is zero and, with the chart on wide terminals, has been for a while."""
        self.set_class(throughput.rate > 0, "-active")
        self.set_class(any(throughput.rates), "-recent")
        self.query_one("#throughput", Sparkline).data = throughput.rates
        self.query_one("#rate", Static).update(Content(f"{throughput.rate:.1f} MiB/s"))


def format_counts(counts: TaskCounts, width: int) -> Content:
    """Return the counts of statuses and results in the longest form that fits into ``width`` columns.

    Narrower forms omit zero counts, then the labels of the results, then all labels: the list shows them as well.
    """
    content = Content("")
    for min_count, status_labels, result_labels in (
        (0, _STATUSES, _RESULTS),
        (1, _STATUSES, _RESULTS),
        (1, _STATUSES, {}),
        (1, {}, {}),
    ):
        statuses = [
            _format_count(*status_icon(status), count, status_labels.get(status, ""))
            for status in _STATUSES
            if (count := counts.by_status.get(status, 0)) >= min_count
        ]
        results = [
            _format_count(*result_icon(state), count, result_labels.get(state, ""))
            for state in _RESULTS
            if (count := counts.results.get(state, 0)) >= min_count
        ]
        content = Content.styled("  │  ", "$text-muted").join(_join_groups(statuses, results))
        if content.cell_length <= width:
            break
    return content.truncate(width, ellipsis=True)


def _join_groups(*groups: list[Content]) -> Iterator[Content]:
    return (Content("  ").join(group) for group in groups if group)


def _format_count(sign: str, style: str, count: int, label: str) -> Content:
    if not count:
        return Content.styled(f"{sign} 0 {label}", "$text-muted")
    return Content.assemble(
        Content.styled(f"{sign} {abbreviate_count(count)}", f"{style} bold"), f" {label}" if label else ""
    )


def abbreviate_count(count: int) -> str:
    """Format a count in a short form, such as ``9,999``, ``95k`` or ``1.2M``."""
    if count < 10_000:  # noqa: PLR2004
        return f"{count:,}"
    if count < 1_000_000:  # noqa: PLR2004
        return f"{count // 1000}k"
    return f"{count / 1_000_000:.1f}M"
