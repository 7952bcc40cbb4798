"""The columns of the dashboard table, and the rendering of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from textual.content import Content

from sealyard.client.downloads.events import DownloadProgress, DownloadResult, VerifiedBy
from sealyard.model.errors import ResultExpiredError, ResultGoneError
from sealyard.model.results import refreshed
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject_name, insert_subject_names
from sealyard.model.tasks import ResultState, TaskStatus
from sealyard_tui.formatting import format_age, progress_bar, result_badge, short_duration, status_badge
from sealyard_tui.screens.dashboard.task_row import TaskRow
from sealyard_tui.session.state import SessionState
from sealyard_tui.widgets.columns import Cell, Column

WIDE_COLUMNS_FROM = 150
"""Minimum table width, in cells, for showing the long form of the download status."""

COLUMNS = (
    Column(key="status", title="STATUS", width=11),
    Column(key="name", title="NAME", width=14, min_width=12, max_width=44, grow=3),
    Column(key="device", title="DEVICE", width=11, min_width=8, max_width=24, grow=1, give_way=4),
    Column(key="creator", title="CREATED BY", width=14, min_width=8, max_width=24, grow=1, from_width=100, give_way=3),
    Column(key="age", title="AGE", width=4, right=True, give_way=2),
    Column(key="result", title="RESULT", width=24, min_width=16, grow=4),
    Column(key="file", title="FILE", width=9, give_way=1, below_width=WIDE_COLUMNS_FROM),
    Column(key="file", title="FILE", width=30, give_way=1, from_width=WIDE_COLUMNS_FROM),
)
_BAR_WIDTH = 14

GetDownloadStatus = Callable[[str], DownloadProgress | DownloadResult | VerifiedBy | None]
"""Function that returns the download status of a task, given its id."""


class RowRenderer:
    """Renderer for the rows of the dashboard table."""

    def __init__(
        self,
        now: Callable[[], datetime],
        get_download_status: GetDownloadStatus,
        get_state: Callable[[], SessionState],
        get_keys: Callable[[], Mapping[str, str]],
        get_change_mark: Callable[[str], str],
    ) -> None:
        """Create the renderer.

        ``get_keys`` returns the keys bound to actions, by binding id. ``get_change_mark`` returns the mark of a pending
        change of a task, given its id; empty if there is none.
        """
        self._now = now
        self._get_download_status = get_download_status
        self._get_state = get_state
        self._get_keys = get_keys
        self._get_change_mark = get_change_mark

    def __call__(self, row: TaskRow) -> Sequence[Cell]:
        now, names = self._now(), self._get_state().subject_names
        short_status, long_status = self.render_download(row)
        change_mark = self._get_change_mark(row.id)
        return (
            status_badge(row.detailed_status),
            Content.assemble(Content.styled("! ", "$warning") if row.has_warning else "", row.title),
            escape_text(f"{row.device} v{row.version}"),
            escape_text(format_subject_name(row.creator, names)),
            format_age(row.created_at, now),
            Content.styled(change_mark, "$warning") if change_mark else render_result(row, now, names),
            short_status,
            long_status,
        )

    def render_download(self, row: TaskRow) -> tuple[Content, Content]:
        """Return the download status of a task in a short and a long form."""
        return render_download(self._get_download_status(row.id), row, self._get_state().identity, self._get_keys)


def render_result(row: TaskRow, now: datetime, names: SubjectNames) -> Content:
    """Render the result of a task, its progress, or the reason why it failed or was cancelled."""
    live = row.live
    match row.status:
        case TaskStatus.WAITING:
            return Content.styled(f"{row.approval_count} of {row.approvals_required} approved", "$text-muted")
        case TaskStatus.RUNNING if live is not None and live.bytes_total:
            eta_text = f" {short_duration(live.eta_seconds)}" if live.eta_seconds is not None else ""
            return Content.assemble(progress_bar(live.bytes_done, live.bytes_total, _BAR_WIDTH), eta_text)
        case TaskStatus.RUNNING:
            return Content.styled("starting …", "$text-muted")
        case TaskStatus.SCHEDULED if live is not None and live.queue_position is not None:
            eta_text = f", ~{short_duration(live.eta_seconds)}" if live.eta_seconds is not None else ""
            return Content(f"{live.queue_position} in queue{eta_text}")
        case TaskStatus.DONE if row.result is not None:
            return result_badge(refreshed(row.result, now), now)
        case TaskStatus.FAILED | TaskStatus.CANCELLED:
            return Content.styled(escape_text(insert_subject_names(row.short_reason, names)), "$text-muted")
    return Content("")


def render_download(
    status: DownloadProgress | DownloadResult | VerifiedBy | None,
    row: TaskRow,
    identity: str,
    get_keys: Callable[[], Mapping[str, str]],
) -> tuple[Content, Content]:
    """Return the download status of a task in a short and a long form; both are empty if there is nothing to show.

    ``identity``: the id of the user. A missing download is shown only for the user's own tasks.
    """
    match status:
        case DownloadProgress():
            percent = 100 * status.bytes_done // max(1, status.bytes_total)
            return _render_short_and_long("↓", f"{percent} %", f"{percent} %, downloading", "$accent")
        case DownloadResult(downloaded=file) if file is not None:
            return _render_on_disk(file.checked)
        case DownloadResult(error=error) if error is not None:
            if error.code == ResultExpiredError.code:
                return _render_not_downloaded("expired")
            if error.code == ResultGoneError.code:
                return _render_not_downloaded("gone")
            sentence = f"download failed: press {get_keys()['dashboard.downloads']} for the reason"
            return _render_short_and_long("✗", "failed", sentence, "$error")
        case VerifiedBy():
            return _render_on_disk(status)
    result = row.result
    if (
        result is None
        or result.signature is not None
        or row.creator != identity
        or result.state is ResultState.AVAILABLE
    ):
        return Content(""), Content("")
    return _render_not_downloaded(result.state.lower())


def _render_on_disk(verified_by: VerifiedBy) -> tuple[Content, Content]:
    return _render_short_and_long("✓", "on disk", f"on disk, {verified_by} checked", "$success")


def _render_not_downloaded(state: str) -> tuple[Content, Content]:
    return _render_short_and_long(
        "!", "no file", f"not downloaded ({'expired' if state == 'expired' else 'removed'})", "$warning"
    )


def _render_short_and_long(sign: str, label: str, sentence: str, style: str) -> tuple[Content, Content]:
    return Content.styled(f"{sign} {label}", style), Content.styled(f"{sign} {sentence}", style)
