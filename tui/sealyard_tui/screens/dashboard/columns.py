"""The columns of the dashboard, and a task as a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from textual.content import Content

from sealyard.client.downloads.events import DownloadProgress, DownloadResult, VerifiedBy
from sealyard.model.errors import ResultExpiredError, ResultGoneError
from sealyard.model.results import refreshed
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import ResultState, TaskStatus
from sealyard_tui.formatting import format_age, progress_bar, result_badge, short_duration, status_badge
from sealyard_tui.screens.dashboard.task_row import TaskRow
from sealyard_tui.widgets.columns import Cell, Column

WIDE_COLUMNS_FROM = 150
"""Table width from which on downloads are described by a sentence."""

COLUMNS = (
    Column(title="STATUS", width=11),
    Column(title="NAME", width=14, grow=3),
    Column(title="DEVICE", width=11, grow=1),
    Column(title="CREATED BY", width=14, grow=1, from_width=100),
    Column(title="AGE", width=4, right=True),
    Column(title="RESULT", width=21, grow=1),
    Column(title="FILE", width=9, below_width=WIDE_COLUMNS_FROM),
    Column(title="FILE", width=30, from_width=WIDE_COLUMNS_FROM),
)
_BAR_WIDTH = 14

Marks = Callable[[str], DownloadProgress | DownloadResult | VerifiedBy | None]
"""Returns the status of a task's download, by its id."""


class RowRenderer:
    """Renders rows. ``now`` is read once for each rendered row."""

    def __init__(self, now: Callable[[], datetime], marks: Marks, me: Callable[[], str]) -> None:
        self._now = now
        self._marks = marks
        self._me = me

    def __call__(self, row: TaskRow) -> Sequence[Cell]:
        now = self._now()
        mark = self.mark(row)
        return (
            status_badge(row.status),
            Content.assemble(Content.styled("! ", "$warning") if row.attention else "", row.title),
            escape_text(f"{row.device} v{row.version}"),
            escape_text(row.creator.removeprefix("USER:")),
            format_age(row.created_at, now),
            result_cell(row, now),
            mark[0],
            mark[1],
        )

    def mark(self, row: TaskRow) -> tuple[Content, Content]:
        """Return the status of the download: short, and as a sentence."""
        return download_badge(self._marks(row.id), row, self._me())


def result_cell(row: TaskRow, now: datetime) -> Content:
    """Return the progress of a task, or its result."""
    live = row.live
    match row.status:
        case TaskStatus.WAITING:
            return Content.styled(f"{row.approved} of {row.required} approved", "$text-muted")
        case TaskStatus.RUNNING if live is not None and live.bytes_total:
            left = f" {short_duration(live.eta_seconds)}" if live.eta_seconds is not None else ""
            return Content.assemble(progress_bar(live.bytes_done, live.bytes_total, _BAR_WIDTH), left)
        case TaskStatus.RUNNING:
            return Content.styled("starting …", "$text-muted")
        case TaskStatus.SCHEDULED if live is not None and live.queue_position is not None:
            left = f", ~{short_duration(live.eta_seconds)}" if live.eta_seconds is not None else ""
            return Content(f"{live.queue_position} in queue{left}")
        case TaskStatus.DONE if row.result is not None:
            return result_badge(refreshed(row.result, now), now)
        case TaskStatus.FAILED | TaskStatus.CANCELLED:
            return Content.styled(escape_text(row.reason), "$text-muted")
    return Content("")


def download_badge(
    known: DownloadProgress | DownloadResult | VerifiedBy | None, row: TaskRow, me: str
) -> tuple[Content, Content]:
    """Return the status of a download: short, and as a sentence; both empty if there is none."""
    match known:
        case DownloadProgress():
            percent = 100 * known.bytes_done // max(1, known.bytes_total)
            return _short_and_long("↓", f"{percent} %", f"{percent} %, downloading", "$accent")
        case DownloadResult(downloaded=found) if found is not None:
            return _on_disk(found.checked)
        case DownloadResult(error=error) if error is not None:
            if error.code == ResultExpiredError.code:
                return _failed_badge("expired")
            if error.code == ResultGoneError.code:
                return _failed_badge("gone")
            return _short_and_long("✗", "failed", "download failed: press L for the reason", "$error")
        case VerifiedBy():
            return _on_disk(known)
    result = row.result
    if result is None or result.signature is not None or row.creator != me or result.state is ResultState.AVAILABLE:
        return Content(""), Content("")
    return _failed_badge(result.state.lower())


def _on_disk(checked: VerifiedBy) -> tuple[Content, Content]:
    return _short_and_long("✓", "on disk", f"on disk, {checked} checked", "$success")


def _failed_badge(state: str) -> tuple[Content, Content]:
    return _short_and_long(
        "!", "missed", f"not downloaded ({'expired' if state == 'expired' else 'removed'})", "$warning"
    )


def _short_and_long(sign: str, words: str, sentence: str, style: str) -> tuple[Content, Content]:
    return Content.styled(f"{sign} {words}", style), Content.styled(f"{sign} {sentence}", style)
